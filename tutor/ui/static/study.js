/* Cards, quizzes and the study history. Adds to what app.js defines.
   The server draws everything, and keeps each answer until it is asked for. */
(() => {
  "use strict";
  const tutor = window.studyTutor;
  if (!tutor || tutor.review) return;

  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const { newId, request, LOST } = tutor;
  const SURE_MS = 5000;
  const READER_TAB = "study-tutor-reader"; // what is read beside a card or a quiz opens in one tab

  let busy = false;

  /** One call of the server at a time; what it answered, or null after saying beside `near` why not. */
  async function send(near, work) {
    if (busy) return null;
    busy = true;
    const block = near?.closest(".ask, .flash, .card-rows li, .evidence li, form, section") ?? $("#study");
    const reply = await request(near, block, work);
    busy = false;
    return reply;
  }

  /** Focus without a jump: the page only moves where the place would be out of sight. */
  function look(element) {
    if (!element) return;
    element.focus({ preventScroll: true });
    const box = element.getBoundingClientRect();
    if (box.top < 64 || box.top > innerHeight - 80) element.scrollIntoView({ block: "center" });
  }

  /** A button that destroys asks once more, in its own place. */
  function sure(button) {
    if (!button.dataset.sure || button.dataset.asked) return true;
    const before = button.textContent;
    button.dataset.asked = "1";
    button.textContent = button.dataset.sure;
    button.classList.add("danger");
    setTimeout(() => {
      if (!button.isConnected) return;
      delete button.dataset.asked;
      button.textContent = before;
      button.classList.remove("danger");
    }, SURE_MS);
    return false;
  }

  const typing = (target) => target.closest?.("input, textarea, select, [contenteditable]");
  const pressable = (target) => target.closest?.("a, button, summary, input, textarea, select, [contenteditable]");

  /* ---- drafts ---- */

  const draftName = (form) => `study-tutor-draft:${form.dataset.request}`;
  function keep(form, text) {
    try {
      if (text) localStorage.setItem(draftName(form), text);
      else localStorage.removeItem(draftName(form));
    } catch {
      /* private browsing: nothing is kept */
    }
  }
  function restore(form) {
    const box = form.elements.answer;
    try {
      if (!box.value) box.value = localStorage.getItem(draftName(form)) ?? "";
    } catch {
      /* nothing was kept */
    }
  }

  /* ---- review and quiz ---- */

  function review({ element, server, watch }) {
    let spent = 0; // seconds that the card or the task was looked at
    let waiting = 0;
    setInterval(() => !document.hidden && (spent += 1), 1000);

    const study = () => $("#study", element);
    const quiz = () => Number($(".quiz", element)?.dataset.quiz);
    const cardOf = (node) => Number(node.closest("[data-card]").dataset.card);

    function opened() {
      if (!study()) return;
      spent = 0;
      clearTimeout(waiting);
      for (const link of all("a.page-says, .next-step a, .quiz-item a", study())) link.target = READER_TAB;
      const form = $("form[data-do=answer]", study());
      if (form) restore(form);
      const next = Number($("[data-next]", study())?.dataset.next);
      if (next && next < 3600) waiting = setTimeout(due, next * 1000 + 500);
    }

    function draw(reply, focus) {
      if (!reply?.html) return false;
      study().innerHTML = reply.html;
      opened();
      look($(focus ?? `.flash-front, .done-title, ${task()}`, study()) ?? study());
      return true;
    }
    // On a phone the keyboard would cover the task before it was read.
    const task = () => (matchMedia("(hover: hover)").matches ? ".quiz-task [name=answer]" : ".quiz-task");

    /** The next card came due while the page stood open. */
    async function due() {
      if (document.hidden || !$(".all-done", study())) return;
      const reply = await send(null, () => server.show({}));
      if (reply?.html && !reply.html.includes("all-done")) {
        study().innerHTML = reply.html;
        opened();
      }
    }

    async function rate(rating) {
      const card = $(".flash[data-open]", study());
      if (!card) return;
      const sent = { card: cardOf(card), rating, request_id: card.dataset.request, seconds: spent };
      draw(await send($(`[data-rating="${rating}"]`, card), () => server.rate(sent)));
    }

    async function answer(form, text) {
      const sent = {
        quiz: quiz(),
        number: Number(form.dataset.number),
        answer: text,
        request_id: form.dataset.request,
        seconds: spent,
      };
      const reply = await send(form, () => server.answer(sent));
      if (!reply) return;
      keep(form, "");
      draw(reply, ".verdict");
    }

    async function override(near, verdict, reason) {
      const item = near.closest(".quiz-item");
      const attempt = Number(near.closest("[data-attempt]").dataset.attempt);
      const number = Number(near.closest("[data-number]").dataset.number);
      const sent = { quiz: quiz(), attempt, verdict, reason, number: item ? null : number };
      const reply = await send(near, () => server.override(sent));
      if (!draw(reply, item ? `.quiz-item[data-number="${number}"] > summary` : ".verdict") || !item) return;
      $(`.quiz-item[data-number="${number}"]`, study()).open = true;
    }

    /** Do something with a card, in front of the learner or in a list, and bring the lists up to date. */
    async function onCard(button, call, sent) {
      const row = button.closest(".card-rows li");
      const reply = await send(button, () => call({ card: cardOf(button), ...sent }));
      if (!reply) return;
      if (row) {
        study().innerHTML = reply.html;
        opened();
        if (call === server.delete) row.remove();
      } else {
        draw(reply);
      }
      lists();
    }

    async function lists() {
      const box = $(".all-cards[open] .loaded", element);
      const reply = box && (await send(box, () => server.listed({})));
      if (reply?.html !== undefined) box.innerHTML = reply.html;
    }

    async function curve(button) {
      const place = $(".card-curve", button.closest("[data-card]"));
      if (place.innerHTML) {
        place.innerHTML = "";
        return;
      }
      const reply = await send(button, () => server.curve({ card: cardOf(button) }));
      if (reply) place.innerHTML = reply.html;
    }

    const acts = {
      reveal: async (button) => draw(await send(button, () => server.reveal({ card: cardOf(button) })), ".flash-back"),
      rate: (button) => rate(Number(button.dataset.rating)),
      undo: async (button) => draw(await send(button, () => server.undo({}))),
      show: async (button) => draw(await send(button, () => server.show({}))),
      curve,
      "edit-form": async (button) =>
        draw(await send(button, () => server.edit_form({ card: cardOf(button) })), "textarea"),
      suspend: (button) => onCard(button, server.suspend, { suspended: true }),
      resume: (button) => onCard(button, server.suspend, { suspended: false }),
      delete: (button) => onCard(button, server.delete, {}),
      start: (button) => start(server, button),
      unknown: (button) => answer(button.form, null),
      next: async (button) => draw(await send(button, () => server.task({ quiz: quiz() }))),
      "take-back": (button) => override(button, null, ""),
    };
    const forms = {
      answer: (form) => answer(form, form.elements.answer.value),
      edit: async (form) => {
        const sent = { card: Number(form.dataset.card), front: form.elements.front.value, back: form.elements.back.value };
        if (draw(await send(form, () => server.edit(sent)))) lists();
      },
      override: (form) => {
        const sent = new FormData(form);
        override(form, sent.get("verdict"), sent.get("reason"));
      },
    };
    listen(element, acts, forms);
    element.addEventListener("input", (event) => {
      const form = event.target.form;
      if (form?.dataset.do === "answer") keep(form, event.target.value);
    });
    element.addEventListener(
      "toggle",
      (event) => event.target.matches?.(".all-cards[open]") && !$(".rows", event.target) && lists(),
      true,
    );
    document.addEventListener("keydown", (event) => {
      if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !study()) return;
      const confirm = event.key === " " || event.key === "Enter";
      let button = null;
      if (typing(event.target)) return;
      if (confirm && !pressable(event.target)) button = $("[data-do=reveal], [data-do=next]", study());
      else if (/^[1-4]$/.test(event.key)) button = $(`[data-rating="${event.key}"]`, study());
      else if (event.key.toLowerCase() === "u") button = $("[data-do=undo]", study());
      if (!button) return;
      event.preventDefault();
      button.click();
    });

    tutor.page({ element, watch });
    const first = () => {
      opened();
      if (study()) $(task(), study())?.focus({ preventScroll: true });
    };
    watch("value", first);
    first();
  }

  async function start(server, button) {
    const { kind, concept, page } = button.dataset;
    const reply = await send(button, () => server.start({ kind, concept, page, request_id: newId() }));
    if (reply?.quiz) location.assign(`./review?quiz=${reply.quiz}`);
  }

  /** Clicks and forms of a page, by their data-do. */
  function listen(element, acts, forms) {
    element.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-do]");
      if (button && acts[button.dataset.do] && sure(button)) acts[button.dataset.do](button);
    });
    element.addEventListener("submit", (event) => {
      const form = event.target;
      if (!forms[form.dataset.do]) return;
      event.preventDefault();
      forms[form.dataset.do](form);
    });
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("textarea")) {
        event.preventDefault();
        event.target.form?.requestSubmit();
      }
    });
  }

  /* ---- history ---- */

  function history({ element, server, watch }) {
    const mastery = () => $("#mastery", element);
    const panelOf = (tile) => $(".concept-panel", tile.closest(".concept-page"));
    const tileOf = (node) => $(".tile[aria-expanded=true]", node.closest(".concept-page"));

    /** Open a concept's evidence below its page's bars, or close it. */
    async function evidence(tile) {
      const panel = panelOf(tile);
      const open = tile.getAttribute("aria-expanded") === "true";
      if (open) panel.innerHTML = "";
      else {
        const reply = await send(tile, () => server.evidence({ concept: tile.dataset.concept }));
        if (!reply) return;
        panel.innerHTML = reply.panel;
      }
      for (const other of all(".tile", tile.parentElement)) other.setAttribute("aria-expanded", String(!open && other === tile));
    }

    /** Change a concept's evidence: the bars move, what is open stays open, and the focus stays with it. */
    async function change(near, call, sent) {
      const name = tileOf(near).dataset.concept;
      const reply = await send(near, () => call({ ...sent, concept: name }));
      if (!reply) return;
      const open = all(".tile[aria-expanded=true]", mastery()).map((tile) => [tile.dataset.concept, panelOf(tile).innerHTML]);
      mastery().innerHTML = reply.html;
      for (const [which, rows] of open) {
        const tile = all(".tile", mastery()).find((one) => one.dataset.concept === which);
        if (!tile) continue;
        panelOf(tile).innerHTML = which === name ? reply.panel : rows;
        tile.setAttribute("aria-expanded", "true");
        if (which === name) tile.focus({ preventScroll: true });
      }
    }

    async function filter(query) {
      const log = $("#log", element);
      const reply = await send($(".log-body", log), () => server.log(query));
      if (!reply) return;
      const focused = log.contains(document.activeElement) && document.activeElement.name;
      log.innerHTML = reply.html;
      if (focused) $(`[name=${focused}]`, log)?.focus({ preventScroll: true });
      else $("[aria-current]", log)?.focus({ preventScroll: true });
      const kept = new URLSearchParams(Object.entries(query).filter(([, text]) => text));
      window.history.replaceState(window.history.state, "", `./history?${kept}`);
    }
    const chosen = () => Object.fromEntries(new FormData($(".filters", element)));

    const acts = {
      evidence,
      start: (button) => start(server, button),
      delete: (button) => change(button, server.delete, { kind: button.closest("li").dataset.kind, ref: button.closest("li").dataset.ref }),
      restore: (button) => change(button, server.restore, { attempt: Number(button.dataset.attempt) }),
      "take-back": (button) => change(button, server.override, { attempt: Number(button.dataset.attempt), verdict: null }),
    };
    const forms = {
      filter: () => filter(chosen()),
      override: (form) => {
        const { verdict, reason } = Object.fromEntries(new FormData(form));
        change(form, server.override, { attempt: Number(form.dataset.attempt), verdict, reason });
      },
      "restore-file": (form) => post(form, "./restore", form.elements.file.files[0], "Reading the file…"),
      forget: (form) => post(form, "./forget", JSON.stringify({ confirm: form.elements.confirm.value.trim() }), "Deleting…"),
    };
    listen(element, acts, forms);
    element.addEventListener("click", (event) => {
      const tab = event.target.closest("#log a[data-period]");
      if (!tab || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      filter({ ...chosen(), period: tab.dataset.period });
    });
    element.addEventListener("change", (event) => {
      if (event.target.form?.dataset.do === "filter") filter(chosen());
    });
    element.addEventListener("input", (event) => {
      const form = event.target.form;
      if (form?.dataset.do !== "forget") return;
      $("[type=submit]", form).disabled = event.target.value.trim() !== form.dataset.confirm;
    });
    heat(element);

    const drawn = () => {
      if (location.hash === "#log") $("#log", element)?.scrollIntoView();
    };
    tutor.page({ element, watch });
    watch("value", drawn);
    drawn();
  }

  /** Send a file or a word to a route of ours, and say beside the form what came of it. */
  async function post(form, path, body, doing) {
    const line = $("[role=status]", form);
    const button = $("[type=submit]", form);
    const say = (text, wrong) => {
      line.textContent = text;
      line.classList.toggle("error", Boolean(wrong));
    };
    if (!body || button.disabled) return;
    button.disabled = true;
    say(doing);
    try {
      const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body });
      const reply = await response.json();
      if (reply.error) say(reply.error, true);
      else {
        say(`${reply.told} The page is drawn anew.`);
        setTimeout(() => location.reload(), 2500);
        return;
      }
    } catch {
      say(LOST, true);
    }
    button.disabled = false;
  }

  /** The squares of the days: arrow keys move, and what a square says is told below them. */
  function heat(element) {
    const cells = () => all(".heat-cell", element);
    const told = () => $(".heat-told", element);
    let summary = null;
    const tell = (cell) => {
      if (!told()) return;
      summary ??= told().textContent;
      told().textContent = cell ? cell.title || cell.dataset.told : summary;
    };
    for (const kind of ["pointerover", "focusin", "click"]) {
      element.addEventListener(kind, (event) => {
        const cell = event.target.closest?.(".heat-cell");
        if (cell) tell(cell);
      });
    }
    element.addEventListener("pointerout", (event) => event.target.closest?.(".heat-cell") && tell($(".heat-cell:focus", element)));
    element.addEventListener("focusout", (event) => event.target.closest?.(".heat-cell") && tell(null));
    element.addEventListener("keydown", (event) => {
      const cell = event.target.closest?.(".heat-cell");
      const [across, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
      if (!cell || (!across && !down)) return;
      event.preventDefault();
      const column = cell.closest("td").cellIndex + across;
      const row = cell.closest("tr").sectionRowIndex + down;
      const next = $(".heat-cell", element.querySelector(".heat tbody").rows[row]?.cells[column] ?? document.createElement("i"));
      if (!next) return;
      for (const other of cells()) other.tabIndex = other === next ? 0 : -1;
      next.focus();
    });
  }

  tutor.review = review;
  tutor.history = history;
})();
