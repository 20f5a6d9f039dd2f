/* The Lab page: runs are asked for here and put in their places, the bench is drawn by the server. Adds to app.js.
   Nothing is counted or animated here: every number comes from a run. */
(() => {
  "use strict";
  const tutor = window.studyTutor;
  if (!tutor || tutor.lab) return;

  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const { newId, request, LOST } = tutor;
  const QUIET_MS = 350; // after the last letter, before a text is cut into tokens

  let page = null; // the element of the page
  let submit = null; // the wire's trigger
  let sent = null; // what the run under way was asked with
  let watchdog = 0;

  const told = (text) => {
    const line = $("#lab-told", page);
    if (text && line.textContent !== text) line.textContent = text;
  };
  const status = (run, text) => {
    const line = $(`[data-place=${run}-status]`, page);
    line.textContent = text;
    line.classList.toggle("error", Boolean(text));
  };

  /* ---- runs ---- */

  function start(form, extra) {
    if (sent) return;
    const fields = Object.fromEntries(new FormData(form));
    sent = { run: form.dataset.run, id: newId(), ...fields, ...extra };
    if (sent.run === "note") {
      const now = $("[data-place=note-now]", page);
      const turn = $("[data-turn]", now);
      if (turn) {
        sent.before = Number(turn.dataset.turn);
        $("[data-place=note-before]", page).replaceChildren(turn);
      }
      $("[data-place=note-verdict]", page).textContent = "";
    }
    busy(true);
    if (sent.run === "panes") status("panes", "");
    submit("submit", {});
  }

  function busy(on) {
    for (const button of all("form[data-run] button, [data-do=read]", page)) {
      if (button.dataset.do !== "stop") button.disabled = on;
    }
    const stop = $("[data-do=stop]", page);
    stop.hidden = !on;
    clearInterval(watchdog);
    if (on) watchdog = setInterval(lookForTrouble, 500);
  }

  // Gradio tells of a full queue or a lost server in a toast only.
  function lookForTrouble() {
    if (!$(".toast-body.error")) return;
    end(sent.run, "The run was cut off: the server is busy or gone. Try again, or reload the page.");
  }

  function end(run, problem) {
    const from = sent;
    sent = null;
    busy(false);
    if (problem) {
      status(run, problem);
      told(problem);
      for (const body of all("[data-place] > .status", page)) {
        if (body.closest(".pane")) body.parentElement.innerHTML = '<p class="hint">Cut off.</p>';
      }
    }
    if (from) load("account", true);
  }

  function labWire({ element, trigger, watch }) {
    submit = trigger;
    watch("value", () => {
      const run = $("[data-run]", element);
      if (!run || !sent || run.dataset.run !== sent.id) return; // of a run that was given up
      for (const part of all("[data-place]", run)) {
        const place = $(`[data-place="${part.dataset.place}"]`, page);
        const html = part.innerHTML;
        if (!place || place.drawn === html) continue;
        place.innerHTML = html;
        place.drawn = html;
      }
      told(run.dataset.told);
      if (run.hasAttribute("data-done")) end(sent.run, run.dataset.error);
    });
  }

  /* ---- calls ---- */

  const call = (near, work) => request(near, near.closest("form, .bench-step, section"), work);

  const loaded = new Set();
  let load = () => {};

  function lab({ element, server, watch }) {
    page = element;
    let typing = 0;
    let asked = 0; // the newest text sent to be cut: an older answer is dropped

    const loads = {
      registry: () => server.registry({}),
      account: () => server.account({}),
      tokens: () => server.pieces({ text: $("#tokens-text", element).value }),
    };

    load = async (name, again = false) => {
      if (loaded.has(name) !== again) return; // not seen yet, or drawn already
      loaded.add(name);
      const place = $(`[data-load=${name}]`, element);
      const number = (asked += name === "tokens" ? 1 : 0);
      let reply;
      try {
        reply = await loads[name]();
      } catch {
        reply = { error: LOST };
      }
      if (name === "tokens" && number !== asked) return;
      if (reply?.error) {
        place.replaceChildren(Object.assign(document.createElement("p"), { className: "error", textContent: reply.error }));
        return;
      }
      if (place.drawn === reply.html) return;
      place.innerHTML = place.drawn = reply.html;
    };

    /* ---- the bench ---- */

    // One call after the other: what is drawn last must be what was done last.
    let last = Promise.resolve();
    const inTurn = (work) => (last = last.then(work, work));

    function draw(html) {
      if (!html) return;
      const body = $("#bench-body", element);
      const focused = document.activeElement?.dataset?.focus;
      const scrolled = $(".reviews", body)?.scrollTop ?? 0;
      const open = all("details", body).map((one) => one.open);
      const inferred = $("#inferred", body)?.innerHTML ?? "";
      const texts = new Map(all("input[type=text], input:not([type])", body).map((one) => [one.id, one.value]));
      body.innerHTML = html;
      $(".reviews", body).scrollTop = scrolled;
      all("details", body).forEach((one, number) => (one.open = open[number] ?? false));
      $("#inferred", body).innerHTML = inferred;
      for (const [id, text] of texts) if (id) document.getElementById(id).value = text;
      const again = focused && all("[data-focus]", body).find((one) => one.dataset.focus === focused);
      if (!again) return;
      // A step that is done hands on to the next one; a disabled button can't hold the focus.
      const target = again.disabled ? $(".bench-act .button:not(:disabled):not(.quiet), #bench-infer", body) : again;
      target?.focus({ preventScroll: true });
    }

    async function step(button) {
      const reply = await call(button, () => inTurn(() => server.bench_step({ step: button.dataset.bench })));
      if (!reply) return;
      if (button.dataset.bench === "reset") $("#inferred", element).innerHTML = "";
      draw(reply.html);
      told(`${button.textContent}: done.`);
    }

    const steps = { clean: step, train: step, evaluate: step, deploy: step };
    const bench = {
      ...steps,
      reset: (button) => {
        if (button.dataset.asked) return step(button);
        button.dataset.asked = "1";
        button.textContent = "Start over? Reviews and weights are lost";
        button.classList.add("danger");
        return null;
      },
      remove: async (button) => {
        const rows = all(".reviews [data-bench=remove]", element);
        const at = rows.indexOf(button);
        const reply = await call(button, () => inTurn(() => server.bench_remove({ review: Number(button.dataset.review) })));
        if (!reply) return;
        draw(reply.html);
        const left = all(".reviews [data-bench=remove]", element);
        (left[Math.min(at, left.length - 1)] ?? $("#bench-new", element)).focus({ preventScroll: true });
      },
    };

    const acts = {
      stop: () => $("#lab-stop").click(),
      read: async (button) => {
        const reply = await call(button, () => server.read_weights({}));
        if (!reply) return;
        $("[data-place=weights]", element).innerHTML = reply.html;
        $("[data-place=weights]", element).drawn = "";
        told("The weight files were read.");
      },
      restore: (button) => {
        const text = $("#lab-note", element);
        text.value = text.dataset.first;
        start(button.form);
      },
      "remove-note": async (button) => {
        const reply = await call(button, () => server.remove_note({}));
        if (!reply) return;
        const line = $("[data-place=note-status]", element);
        line.innerHTML = reply.html;
        line.drawn = "";
        told(line.textContent);
      },
    };

    element.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.do) acts[button.dataset.do]?.(button);
      else if (button.dataset.bench) bench[button.dataset.bench]?.(button);
    });

    element.addEventListener("submit", async (event) => {
      event.preventDefault();
      const form = event.target;
      if (form.dataset.run) return start(form);
      const fields = Object.fromEntries(new FormData(form));
      const button = $("[type=submit]", form);
      if (form.dataset.bench === "add") {
        const reply = await call(button, () => inTurn(() => server.bench_add(fields)));
        if (!reply) return null;
        $("#bench-new", element).value = "";
        draw(reply.html);
        $(".reviews", element).scrollTop = 0;
        $("#bench-new", element).focus({ preventScroll: true });
      } else if (form.dataset.bench === "infer") {
        const reply = await call(button, () => inTurn(() => server.infer(fields)));
        if (reply) $("#inferred", element).innerHTML = reply.html;
      }
      return null;
    });

    element.addEventListener("change", async (event) => {
      const choice = event.target;
      if (choice.dataset.bench !== "label") return;
      const said = { review: Number(choice.dataset.review), label: choice.value };
      const reply = await call(choice, () => inTurn(() => server.bench_label(said)));
      draw(reply?.html);
    });

    element.addEventListener("input", (event) => {
      if (event.target.id !== "tokens-text") return;
      clearTimeout(typing);
      typing = setTimeout(() => load("tokens", true), QUIET_MS);
    });

    tutor.page({ element, watch });
    const opened = () => {
      if (!$("#main", element)) return;
      loaded.clear();
      const seen = new IntersectionObserver(
        (entries) => entries.forEach((entry) => entry.isIntersecting && load(entry.target.dataset.load)),
        { rootMargin: "300px" },
      );
      for (const place of all("[data-load]", element)) seen.observe(place);
    };
    watch("value", opened);
    opened();
  }

  tutor.lab = lab;
  tutor.labWire = labWire;
  tutor.labOutgoing = () => [JSON.stringify(sent)];
})();
