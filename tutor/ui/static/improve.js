/* The Improve page: watches a training, draws the parts that changed, keeps votes. The server draws everything.
   Adds to what app.js defines. */
(() => {
  "use strict";
  const tutor = window.studyTutor;
  if (!tutor || tutor.improve) return;

  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const WATCH_MS = 2000;
  const PRINT_TRIES = 8;

  function improve({ element, server, watch }) {
    let busy = false; // a training runs
    let timer = 0;
    let stage = null;
    let printing = 0;
    let previewing = false;

    const part = (name) => $(`[data-part="${name}"]`, element);
    const known = () => Object.fromEntries(all("[data-part]", element).map((one) => [one.dataset.part, one.dataset.digest]));

    function tell(text) {
      const line = $("#improve-told", element);
      line.textContent = line.textContent === text ? `${text} ` : text; // said again, it must differ to be heard
    }

    /** Draw a part anew; what was open stays open, and the focus stays on what it was on. */
    function draw(place, html) {
      const open = new Map(all("details[data-key]", place).map((one) => [one.dataset.key, one.open]));
      const minutes = $("select[name=minutes]", place)?.value;
      const focused = place.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
      place.innerHTML = html;
      for (const one of all("details[data-key]", place)) one.open = open.get(one.dataset.key) ?? one.open;
      const select = $("select[name=minutes]", place);
      if (select && minutes !== undefined) select.value = minutes;
      if (focused) all("[data-focus]", place).find((one) => one.dataset.focus === focused && !one.disabled)?.focus({ preventScroll: true });
    }

    function drawn(reply) {
      for (const [name, { html, digest }] of Object.entries(reply.parts)) {
        const place = part(name);
        draw(place, html);
        place.dataset.digest = digest;
        if (name === "served") print();
        if (name === "preview") preview();
      }
      busy = reply.busy;
      if (stage !== null && reply.stage !== stage) tell(reply.stage);
      stage = reply.stage;
      schedule();
    }

    function schedule() {
      clearTimeout(timer);
      if (busy && element.isConnected) timer = setTimeout(look, WATCH_MS);
    }

    async function look() {
      if (document.hidden) return; // comes back with the page
      try {
        const reply = await server.parts({ known: known() });
        if (!reply.error) return drawn(reply);
      } catch {
        /* the app is being restarted, perhaps: ask again */
      }
      return schedule();
    }

    const beside = (near) => near.closest("form, .now, .job, .verdict-box, .ballot, .preview, .queue-foot") ?? near.parentElement;
    const ask = (near, work) => tutor.request(near, beside(near), work);

    /** Do something that changes the page; then the focus goes to the first of `next` that is there. */
    async function act(near, name, sent, next, said) {
      const reply = await ask(near, () => server[name]({ ...sent, known: known() }));
      if (!reply) return;
      drawn(reply);
      if (said) tell(said());
      const target = next.map((selector) => $(selector, element)).find((one) => one && !one.disabled);
      target?.focus({ preventScroll: true });
    }

    /* ---- weights fingerprint: what the running app really answers with ---- */

    async function print() {
      const number = (printing += 1);
      for (let tries = 0; tries < PRINT_TRIES && number === printing; tries += 1) {
        let found = null;
        try {
          found = await server.fingerprint(null);
        } catch {
          /* asked again */
        }
        const code = $("[data-fingerprint]", element);
        if (!code || number !== printing) return;
        if (found?.error || found?.problem) {
          code.textContent = "not loaded";
          const line = document.createElement("p");
          line.className = "error";
          line.setAttribute("role", "alert");
          line.textContent = found.error || found.problem;
          code.closest("p").after(line);
          return;
        }
        if (found && (found.adapter ?? "") === code.dataset.fingerprint) {
          code.textContent = found.sha256.slice(0, 12) || "told by the server only";
          if (found.sha256) code.title = `SHA-256 of everything that computes an answer: ${found.sha256}`;
          return;
        }
        code.textContent = "switching…";
        await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
      }
    }

    /* ---- what the next training would learn from ---- */

    async function preview(asked = false) {
      if (previewing) return;
      previewing = true;
      try {
        for (let wait = true; wait && element.isConnected; asked = false) {
          const reply = await server.preview({ asked });
          if (reply.error) break;
          const place = part("preview");
          const state = $(".preview", place)?.dataset.state;
          wait = reply.wait;
          if (!wait || state !== "working") draw(place, reply.html);
        }
      } catch {
        /* the page may be left */
      } finally {
        previewing = false;
      }
    }

    /* ---- votes ---- */

    async function ballot(button, work, focus) {
      const reply = await ask(button, work);
      if (!reply) return;
      draw(part("vote"), reply.html);
      const target = focus.map((selector) => $(selector, part("vote"))).find(Boolean);
      target?.focus({ preventScroll: true });
      const box = target?.getBoundingClientRect();
      if (box && (box.top < 64 || box.bottom > innerHeight)) target.scrollIntoView({ block: "center" });
    }

    const adapter = () => $(".vote", element).dataset.adapter;
    const acts = {
      cancel: (button) => act(button, "cancel", { job: Number(button.dataset.job) }, ["[data-do=resume]", "[data-do=start] button"]),
      resume: (button) => act(button, "resume", { job: Number(button.dataset.job) }, ["[data-do=cancel]"]),
      promote: (button) =>
        act(button, "promote", { name: button.dataset.name }, [".promoted"], () => `${button.dataset.name} answers from now on.`),
      rollback: (button) => act(button, "rollback", {}, ["[data-do=undo]"], () => `Rolled back: ${$("#now-title", element).textContent} answers from now on. Undo is possible.`),
      undo: (button) =>
        act(button, "undo", { name: button.dataset.name }, ["[data-do=rollback]"], () => `${$("#now-title", element).textContent} answers again.`),
      preview: () => {
        draw(part("preview"), '<div class="preview" data-state="asked"><p class="status"><span class="pulse"></span>Asking the trainer…</p></div>');
        preview(true);
      },
      vote: (button) => {
        const { item, choice } = button.dataset;
        return ballot(button, () => server.vote({ adapter: adapter(), item, choice }), ["[data-do=next]", ".vote-said"]);
      },
      next: (button) => ballot(button, () => server.ballot({ adapter: adapter() }), [".ballot-question", ".empty"]),
    };

    element.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-do]");
      if (button) acts[button.dataset.do]?.(button);
    });
    element.addEventListener("submit", (event) => {
      event.preventDefault();
      if (event.target.dataset.do !== "start") return;
      const minutes = event.target.elements.minutes.value;
      act($("button", event.target), "start", { minutes: minutes ? Number(minutes) : null }, ["[data-do=cancel]"]);
    });
    element.addEventListener("change", async (event) => {
      const box = event.target;
      if (box.dataset?.do !== "opt") return;
      const reply = await ask(box, () => server.opt_out({ out: !box.checked, known: known() }));
      if (reply) drawn(reply);
      else box.checked = !box.checked;
    });
    document.addEventListener("visibilitychange", () => !document.hidden && busy && look());

    tutor.page({ element, watch });
    const opened = () => {
      if (!$("#main", element)) return;
      stage = $(".live", element)?.dataset.stage ?? "";
      busy = $("[data-do=cancel]", element) !== null;
      schedule();
      print();
      preview();
    };
    watch("value", opened);
    opened();
  }

  tutor.improve = improve;
})();
