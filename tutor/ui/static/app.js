/* What the pages do in the browser: count reading, send questions, keep ratings. The server draws everything.
   No library, no request to anywhere but this server. */
(() => {
  "use strict";
  if (window.studyTutor) return;

  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  const show = (element, block = "start") =>
    element?.scrollIntoView({ block, behavior: calm() ? "auto" : "smooth" });
  const params = () => new URLSearchParams(location.search);
  const newId = () =>
    crypto.randomUUID?.() ?? [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  const keep = (key, text) => {
    try {
      if (text) localStorage.setItem(key, text);
      else localStorage.removeItem(key);
    } catch {
      /* private browsing: nothing is kept */
    }
  };
  const kept = (key) => {
    try {
      return localStorage.getItem(key) ?? "";
    } catch {
      return "";
    }
  };
  const LOST = "That did not reach the server, so nothing was changed. Try again.";
  const name = (title) => {
    document.title = title ? `${title} · Study Tutor` : "Study Tutor";
  };

  /* ---- reading ---- */

  const TICK = 500;
  const IDLE_AFTER = 60_000;
  const REPORT_EVERY = 10_000;
  let reading = null;
  let lastInput = Date.now();
  for (const kind of ["scroll", "pointermove", "pointerdown", "keydown", "wheel", "touchmove"]) {
    addEventListener(kind, () => (lastInput = Date.now()), { passive: true, capture: true });
  }

  class Reading {
    constructor(reader) {
      this.page = reader.dataset.page;
      this.near = new Set();
      this.state = new Map();
      this.pending = new Map();
      this.reported = Date.now();
      this.observer = new IntersectionObserver((entries) => {
        for (const entry of entries) this.near[entry.isIntersecting ? "add" : "delete"](entry.target);
      });
      for (const section of all("section[data-section]", reader)) {
        this.state.set(section, { shown: 0, end: false, read: section.hasAttribute("data-read") });
        this.observer.observe(section);
      }
      this.timer = setInterval(() => this.tick(), TICK);
    }

    stop() {
      clearInterval(this.timer);
      this.observer.disconnect();
      this.report(true);
    }

    tick() {
      if (document.hidden || Date.now() - lastInput > IDLE_AFTER) return;
      const seen = [];
      for (const section of this.near) {
        const box = section.getBoundingClientRect();
        const pixels = Math.min(box.bottom, innerHeight) - Math.max(box.top, 56);
        if (pixels >= Math.min(box.height * 0.5, innerHeight * 0.3)) {
          seen.push([section, pixels]);
          if (box.bottom <= innerHeight + 4) this.state.get(section).end = true;
        }
      }
      const total = seen.reduce((sum, [, pixels]) => sum + pixels, 0);
      let finished = false;
      for (const [section, pixels] of seen) {
        const state = this.state.get(section);
        state.shown += TICK / 1000;
        const wait = this.waiting(section);
        wait.seconds += ((TICK / 1000) * pixels) / total;
        if (!state.read && state.end && state.shown >= Math.max(3, 0.35 * Number(section.dataset.seconds))) {
          state.read = wait.read = finished = true;
          section.setAttribute("data-read", "");
        }
      }
      if (finished || Date.now() - this.reported > REPORT_EVERY) this.report(false);
    }

    waiting(section) {
      const key = section.dataset.section;
      if (!this.pending.has(key)) this.pending.set(key, { section: key, seconds: 0, read: false });
      return this.pending.get(key);
    }

    report(leaving) {
      this.reported = Date.now();
      if (!this.pending.size) return;
      const sections = [...this.pending.values()].map((s) => ({ ...s, seconds: Math.round(s.seconds * 100) / 100 }));
      const body = JSON.stringify({ page: this.page, sections });
      this.pending = new Map();
      if (leaving) {
        navigator.sendBeacon("./progress", new Blob([body], { type: "application/json" }));
        return;
      }
      fetch("./progress", { method: "POST", headers: { "Content-Type": "application/json" }, body })
        .then((response) => (response.ok ? response.text() : null))
        .then((html) => html && drawPath(html))
        .catch(() => {
          for (const lost of sections) {
            const key = this.pending.get(lost.section) ?? { section: lost.section, seconds: 0, read: false };
            key.seconds += lost.seconds;
            key.read ||= lost.read;
            this.pending.set(lost.section, key);
          }
        });
    }
  }

  function drawPath(html) {
    const path = $("#path");
    if (!path || path.contains(document.activeElement)) return;
    path.innerHTML = html;
    const counted = $("[data-summary]", path);
    const toggle = $("#path-toggle span");
    if (counted && toggle) toggle.textContent = counted.dataset.summary;
  }

  addEventListener("pagehide", () => reading?.report(true));
  document.addEventListener("visibilitychange", () => document.hidden && reading?.report(true));

  function learn({ element, watch }) {
    const opened = () => {
      const page = $("#main", element);
      if (!page) return;
      name(page.dataset.title);
      reading?.stop();
      const reader = $("#reader", element);
      reading = reader ? new Reading(reader) : null;
      const target = reader && reader.dataset.scroll ? document.getElementById(reader.dataset.scroll) : null;
      if (target) requestAnimationFrame(() => target.scrollIntoView({ block: reader.dataset.scroll === "cite" ? "center" : "start" }));
      document.body.classList.add("is-ready");
    };
    watch("value", opened);
    opened();
  }

  function page({ element, watch }) {
    const opened = () => {
      const main = $("#main", element);
      if (!main) return;
      name(main.dataset.title);
      document.body.classList.add("is-ready");
    };
    watch("value", opened);
    opened();
  }

  /* ---- chat ---- */

  let chatServer = null;
  let submit = null;
  let next = null; // what the next question is, when it does not come from the box
  let scrollToLive = false;
  let watchdog = 0;

  const box = () => $("#question textarea, #question input");
  const conversation = () =>
    $("#live [data-conversation]")?.dataset.conversation || $("#thread .thread")?.dataset.conversation || "";

  function outgoing(question) {
    const asked = next ?? { question };
    next = null;
    scrollToLive = true;
    for (const toast of all(".toast-close")) toast.click(); // told already; only new ones are trouble
    setBusy(true);
    const query = params();
    const context = {
      ...asked,
      conversation: conversation(),
      page: query.get("page"),
      doc: query.get("doc"),
      socratic: $("#socratic-on")?.checked ?? false,
      request_id: newId(),
    };
    return [question, JSON.stringify(context)];
  }

  function setBusy(busy) {
    document.body.classList.toggle("is-busy", busy);
    clearInterval(watchdog);
    if (busy) watchdog = setInterval(lookForTrouble, 500);
  }

  // Gradio tells of a full queue or a lost server in a toast only; the answer's own place should say so too.
  function lookForTrouble() {
    const running = $("#live [data-running]");
    if ($(".toast-body.error")) {
      setBusy(false);
      waiting(running ? "" : "The question was not taken: the server is busy or gone. Try again, or reload the page.");
      const status = running && $("[role=status]", running);
      if (status) status.textContent = "The connection was lost. Reload the page to see what was saved.";
      running?.removeAttribute("data-running");
    } else if (!running) {
      waiting("Waiting for a free place…");
    }
  }

  function waiting(text) {
    let line = $("#live-wait");
    if (!line && text) {
      line = document.createElement("p");
      line.id = "live-wait";
      line.className = "status";
      line.setAttribute("role", "status");
      $("#live").append(line);
    }
    if (line && text) line.textContent = text;
    else line?.remove();
  }

  function ask(question, replaces) {
    if (document.body.classList.contains("is-busy")) return;
    next = { question, replaces };
    submit("submit", {});
  }

  function chat({ element, trigger, server, watch }) {
    chatServer = server;
    submit = trigger;
    const opened = () => {
      const thread = $(".thread", element);
      if (!thread) return;
      document.body.classList.add("is-ready");
      restoreReplies(thread);
      name($(".question", thread)?.textContent.slice(0, 60) || "Chat");
      if (scrollToLive || opened.done) return;
      opened.done = true;
      const target = (location.hash.startsWith("#turn-") && document.getElementById(location.hash.slice(1))) || $(".turn:last-child", thread);
      target?.scrollIntoView({ block: "start" });
      if (matchMedia("(hover: hover)").matches && !target) box()?.focus({ preventScroll: true });
    };
    watch("value", opened);
    opened();
  }

  function live({ element, watch }) {
    watch("value", () => {
      const turn = $(".turn", element);
      const running = Boolean($("[data-running]", element));
      waiting("");
      setBusy(running);
      restoreReplies(element);
      const id = turn?.dataset.conversation;
      if (id && params().get("c") !== id) history.replaceState(history.state, "", `./chat?c=${id}`);
      if (turn && scrollToLive) {
        show(turn);
        scrollToLive = false;
      }
    });
  }

  const turnOf = (element) => element.closest("[data-turn]");

  /* A Socratic turn: hint and question first. The switch is remembered here, each turn's state on the server. */
  const replyName = (turn) => `study-tutor-draft:turn-${turn.dataset.turn}`;

  function socratic(element) {
    const toggle = $("input", element);
    toggle.checked = kept("study-tutor-socratic") === "on";
    toggle.addEventListener("change", () => keep("study-tutor-socratic", toggle.checked ? "on" : ""));
  }

  function restoreReplies(within) {
    for (const text of all("textarea[name=reply]", within)) text.value ||= kept(replyName(turnOf(text)));
  }

  async function uncover(button, action, sent) {
    const turn = turnOf(button);
    const shown = await call(() => chatServer[action]({ turn: Number(turn.dataset.turn), ...sent }), button);
    if (!shown) return;
    if (shown.error) {
      note(button, shown.error);
      return;
    }
    keep(replyName(turn), "");
    turn.outerHTML = shown.html;
    const panel = $("#sources .sources");
    if (panel) panel.outerHTML = shown.sources;
    const now = document.getElementById(turn.id);
    const first = $(".tried > summary", now) ?? $(".answer", now);
    first?.setAttribute("tabindex", first.matches("summary") ? "0" : "-1");
    first?.focus({ preventScroll: true });
    show(first, "nearest");
  }

  async function call(work, button) {
    button?.setAttribute("aria-busy", "true");
    try {
      return await work();
    } catch {
      note(button, "That was not saved: the server did not answer. Try again.");
      return null;
    } finally {
      button?.removeAttribute("aria-busy");
    }
  }

  function note(near, text) {
    complain(near?.closest(".feedback, .conversation, .nudge, .turn, .welcome") ?? document.body, text);
  }

  /** Say at the end of `place` why something failed, in the place of what was said before. */
  function complain(place, text) {
    $(".call-error", place)?.remove();
    const line = document.createElement("p");
    line.className = "error call-error";
    line.setAttribute("role", "alert");
    line.textContent = text;
    place.append(line);
  }

  /** Run a call whose reply may be an `error`; what it answered, or null after saying in `place` why not.
      `near` is what was pressed: while it waits, pressing it again does nothing. */
  async function request(near, place, work) {
    if (near?.hasAttribute("aria-busy")) return null;
    for (const line of all(".call-error", place ?? document)) line.remove();
    near?.setAttribute("aria-busy", "true");
    let reply;
    try {
      reply = await work();
    } catch {
      reply = { error: LOST };
    }
    near?.removeAttribute("aria-busy");
    if (!reply?.error) return reply;
    if (place) complain(place, reply.error);
    return null;
  }

  function edit(button) {
    const turn = turnOf(button);
    const asked = button.closest(".asked");
    const question = $(".question", asked);
    const form = document.createElement("form");
    form.className = "edit";
    form.innerHTML =
      '<label>Edit the question<textarea rows="2" required></textarea></label>' +
      '<div class="actions"><button type="submit" class="button">Ask again</button>' +
      '<button type="button" class="text-button" data-act="cancel-edit">Cancel</button></div>';
    const text = $("textarea", form);
    text.value = question.textContent;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (text.value.trim()) ask(text.value.trim(), Number(turn.dataset.turn));
    });
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        closeEdit(form, button);
      }
    });
    asked.classList.add("is-edited");
    asked.append(form);
    text.focus();
    text.setSelectionRange(text.value.length, text.value.length);
  }

  function closeEdit(form, button) {
    const asked = form.closest(".asked");
    form.remove();
    asked.classList.remove("is-edited");
    (button ?? $("[data-act=edit]", asked))?.focus();
  }

  async function change(button, action, extra) {
    const row = button.closest(".conversation");
    const chosen = row.dataset.conversation;
    const html = await call(() => chatServer[action]({ conversation: chosen, current: conversation(), ...extra }), button);
    if (html === null) return;
    if (action === "delete" && chosen === conversation()) location.assign("./chat");
    else $("#conversations .side-box").outerHTML = html;
  }

  const acts = {
    ask: (button) => ask(button.textContent),
    retry: (button) => ask($(".question", turnOf(button)).textContent, Number(turnOf(button).dataset.turn)),
    edit,
    "cancel-edit": (button) => closeEdit(button.closest("form")),
    sources: async (button) => {
      const html = await call(() => chatServer.sources_of(turnOf(button).dataset.turn), button);
      const panel = $("#sources .sources");
      if (html === null || !panel) return;
      panel.outerHTML = html;
      if (innerWidth < 1100) show($("#sources .sources"));
    },
    reveal: (button) => uncover(button, "reveal"),
    card: async (button) => {
      const saved = await call(() => chatServer.save_card({ turn: Number(turnOf(button).dataset.turn) }), button);
      if (saved?.error) note(button, saved.error);
      if (!saved?.html) return;
      const place = button.parentElement;
      button.outerHTML = saved.html;
      $(".saved", place).focus({ preventScroll: true });
    },
    quiz: async (button) => {
      const sent = { turn: Number(turnOf(button)?.dataset.turn), page: button.dataset.page, request_id: newId() };
      const begun = await call(() => chatServer.quiz(sent), button);
      if (begun?.error) note(button, begun.error);
      if (begun?.link) location.assign(begun.link);
    },
    delete: (button) => confirm("Delete this conversation?") && change(button, "delete"),
    copy: async (button) => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = "Copied";
      } catch {
        button.textContent = button.dataset.copy;
      }
    },
    side: (button) => {
      const open = button.closest(".side-box").classList.toggle("is-open");
      button.setAttribute("aria-expanded", String(open));
    },
  };

  document.addEventListener("click", (event) => {
    const jump = event.target.closest('a[href^="#"]');
    if (jump) {
      // A bare "#..." would leave the page: every link here is relative to <base>.
      event.preventDefault();
      const target = document.getElementById(jump.getAttribute("href").slice(1)) ?? $(".thread");
      target?.setAttribute("tabindex", "-1");
      target?.focus();
      return;
    }
    const button = event.target.closest("button[data-act]");
    if (button && acts[button.dataset.act] && !button.hasAttribute("aria-busy")) acts[button.dataset.act](button);
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });

  document.addEventListener("submit", (event) => {
    const act = event.target.dataset.act;
    if (act !== "rename" && act !== "reply") return;
    event.preventDefault();
    const button = $("[type=submit]", event.target);
    if (button.hasAttribute("aria-busy")) return;
    const sent = new FormData(event.target);
    if (act === "reply") uncover(button, "reply", { reply: sent.get("reply") });
    else change(button, "rename", { title: sent.get("title") });
  });

  document.addEventListener(
    "toggle",
    async (event) => {
      const panel = event.target;
      if (!panel.matches?.("details.what") || !panel.open || panel.dataset.loaded) return;
      panel.dataset.loaded = "1";
      const html = await call(() => chatServer.details(panel.dataset.turn), panel);
      if (html === null) delete panel.dataset.loaded;
      else $(".what-body", panel).innerHTML = html;
    },
    true,
  );

  document.addEventListener("input", (event) => {
    if (event.target.matches?.(".nudge textarea")) keep(replyName(turnOf(event.target)), event.target.value);
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches?.(".nudge textarea")) {
      event.preventDefault();
      event.target.form.requestSubmit();
      return;
    }
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey && box()) {
      event.preventDefault();
      box().focus();
    } else if (event.key === "Escape") {
      const menu = $("details.menu[open]");
      if (menu) menu.open = false;
      else if (document.body.classList.contains("is-busy")) $("#stop")?.click();
    }
  });

  window.studyTutor = { learn, page, chat, live, outgoing, socratic, acts, call, note, request, newId, LOST, chatServer: () => chatServer };
})();
