/* The question before a page, its hints and its result; the study path. Adds to what app.js defines.
   The server draws everything and holds every answer back until it is told one. */
(() => {
  "use strict";
  const tutor = window.studyTutor;
  if (!tutor || tutor.lesson) return;

  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  const LOST = "That did not reach the server. What you wrote is kept; try again.";
  const MOST_SECONDS = 1800;

  let server = null;
  const asked = new Map(); // key of a question that is asked again -> its result, to go back to
  const spent = new Map(); // key -> seconds looked at

  /* ---- what is kept in this browser: drafts, and how the path is shown ---- */

  const draftName = (block) => `study-tutor-draft:${block.dataset.key}`;
  const store = (name, value) => {
    try {
      if (value) localStorage.setItem(name, value);
      else localStorage.removeItem(name);
    } catch {
      /* private browsing: nothing is kept */
    }
  };
  const stored = (name) => {
    try {
      return localStorage.getItem(name) ?? "";
    } catch {
      return "";
    }
  };

  function restore(within) {
    for (const box of all(".ask textarea[name=answer]", within)) {
      if (!box.value) box.value = stored(draftName(box.closest(".ask")));
    }
  }

  /* ---- a question ---- */

  const identity = (block) => ({ page: block.dataset.page, key: block.dataset.key });

  /** Run a call of the server while the block waits; what it answered, or null after saying why not. */
  async function send(block, doing, work) {
    if (block.dataset.waiting) return null;
    block.dataset.waiting = "1";
    tell(block, doing);
    const buttons = all("button", block).filter((button) => !button.disabled);
    for (const button of buttons) button.setAttribute("aria-disabled", "true");
    let reply;
    try {
      reply = await work();
    } catch {
      reply = { error: LOST };
    }
    delete block.dataset.waiting;
    for (const button of buttons) button.removeAttribute("aria-disabled");
    tell(block, reply?.error ?? "", Boolean(reply?.error));
    return reply?.error ? null : reply;
  }

  function tell(block, text, wrong = false) {
    const line = $(".ask-status", block);
    if (!line) return;
    line.textContent = text;
    line.classList.toggle("error", wrong);
    line.setAttribute("role", wrong ? "alert" : "status");
  }

  function swap(block, html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const fresh = template.content.firstElementChild;
    block.replaceWith(fresh);
    restore(fresh.parentElement);
    return fresh;
  }

  /** Focus without a jump: the page only moves where the verdict would be out of sight. */
  function look(element) {
    if (!element) return;
    element.focus({ preventScroll: true });
    const box = element.getBoundingClientRect();
    if (box.top < 64 || box.bottom > innerHeight) element.scrollIntoView({ block: "center" });
  }

  async function commit(block, answer) {
    const sent = {
      ...identity(block),
      answer,
      request_id: block.dataset.request,
      seconds: Math.round(spent.get(block.dataset.key) ?? 0),
      cite: new URLSearchParams(location.search).get("cite") ?? "",
    };
    const reply = await send(block, answer === null ? "Noting it…" : "Reading your answer…", () => server.commit(sent));
    if (!reply) return;
    store(draftName(block), "");
    spent.delete(block.dataset.key);
    asked.delete(block.dataset.key);
    const fresh = swap(block, reply.html);
    const rest = $("#page-rest");
    if (reply.rest && rest && !$(".page-foot", rest)) open(rest, reply.rest);
    look($(".verdict", fresh));
  }

  /** Put the page below its answered question, and count its sections from now on. */
  function open(rest, html) {
    rest.innerHTML = html;
    restore(rest);
    const reader = rest.closest("#reader");
    reader.dataset.scroll = "";
    tutor.learn({ element: reader.closest("#main").parentElement, watch: () => {} });
  }

  const acts = {
    unknown: (block) => commit(block, null),
    hint: async (block) => {
      const reply = await send(block, "", () => server.hint(identity(block)));
      if (!reply) return;
      const hints = $(".hints", block);
      hints.innerHTML = reply.html;
      ($("[data-do=hint]", hints) ?? $("textarea", block)).focus({ preventScroll: true });
    },
    again: async (block) => {
      const reply = await send(block, "", () => server.again(identity(block)));
      if (!reply) return;
      asked.set(block.dataset.key, block);
      look($("textarea", swap(block, reply.html)));
    },
    cancel: (block) => {
      const before = asked.get(block.dataset.key);
      if (!before) return;
      asked.delete(block.dataset.key);
      block.replaceWith(before);
      look($("[data-do=again]", before));
    },
    read: () => {
      const rest = $("#page-rest");
      rest.tabIndex = -1;
      rest.focus({ preventScroll: true });
      rest.scrollIntoView({ block: "start", behavior: calm() ? "auto" : "smooth" });
    },
    "take-back": (block) => override(block, null, ""),
  };

  async function override(block, verdict, reason) {
    const sent = { attempt: Number(block.dataset.attempt), verdict, reason };
    const reply = await send(block, "Saving…", () => server.override(sent));
    if (reply) look($(".verdict", swap(block, reply.html)));
  }

  const forms = {
    commit: (block, form) => commit(block, form.elements.answer.value),
    override: (block, form) => {
      const sent = new FormData(form);
      override(block, sent.get("verdict"), sent.get("reason"));
    },
  };

  // Time on an answer: while the page is looked at and the question is what it is about.
  setInterval(() => {
    if (document.hidden) return;
    for (const form of all(".ask form[data-do=commit]")) {
      const block = form.closest(".ask");
      if (!block.contains(document.activeElement) && $("#page-rest .page-foot")) continue;
      spent.set(block.dataset.key, Math.min((spent.get(block.dataset.key) ?? 0) + 1, MOST_SECONDS));
    }
  }, 1000);

  /* ---- the sentence of the page that says a key point ---- */

  /** Mark `quote` in the page below, whatever emphasis cuts it into pieces; its first mark, or null. */
  function point(quote) {
    const page = $("#page-body");
    if (!page) return null;
    for (const mark of all("mark.pointed", page)) {
      const parent = mark.parentNode;
      mark.replaceWith(...mark.childNodes);
      parent.normalize();
    }
    const nodes = [];
    const walker = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
    let text = "";
    while (walker.nextNode()) {
      nodes.push([walker.currentNode, text.length]);
      text += walker.currentNode.data;
    }
    const words = quote.split(/\s+/).filter(Boolean).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const found = words.length ? new RegExp(words.join("\\s+")).exec(text) : null;
    if (!found) return null;
    const end = found.index + found[0].length;
    let first = null;
    for (const [node, start] of nodes) {
      const from = Math.max(found.index - start, 0);
      const to = Math.min(end - start, node.data.length);
      if (from >= to || !node.data.slice(from, to).trim()) continue;
      const range = document.createRange();
      range.setStart(node, from);
      range.setEnd(node, to);
      const mark = document.createElement("mark");
      mark.className = "pointed";
      range.surroundContents(mark);
      first ??= mark;
    }
    return first;
  }

  function follow(event, link) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    const mark = point(link.dataset.quote);
    if (!mark) return; // the link itself leads there
    event.preventDefault();
    mark.tabIndex = -1;
    mark.focus({ preventScroll: true });
    mark.scrollIntoView({ block: "center", behavior: calm() ? "auto" : "smooth" });
  }

  /* ---- the study path ---- */

  const VIEW = "study-tutor-path-view";

  function view(study, chosen) {
    study.dataset.view = chosen;
    for (const button of all("[data-view-as]", study)) {
      button.setAttribute("aria-pressed", String(button.dataset.viewAs === chosen));
    }
  }

  function light(map, node) {
    const number = node?.dataset.node;
    map.classList.toggle("is-lit", Boolean(node));
    for (const edge of all(".edge", map)) {
      edge.classList.toggle("is-lit", number !== undefined && [edge.dataset.from, edge.dataset.to].includes(number));
    }
  }

  /* ---- the page ---- */

  function lesson({ element, server: calls, watch }) {
    server = calls;
    const opened = () => {
      restore(element);
      const study = $(".study", element);
      if (study && ["map", "list"].includes(stored(VIEW))) view(study, stored(VIEW));
    };
    tutor.learn({ element, watch });
    watch("value", opened);
    opened();

    element.addEventListener("submit", (event) => {
      const block = event.target.closest(".ask");
      if (!block || !forms[event.target.dataset.do]) return;
      event.preventDefault();
      forms[event.target.dataset.do](block, event.target);
    });
    element.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-quote]");
      if (link) follow(event, link);
      const chosen = event.target.closest("[data-view-as]");
      if (chosen) {
        view(chosen.closest(".study"), chosen.dataset.viewAs);
        store(VIEW, chosen.dataset.viewAs);
      }
      const button = event.target.closest("button[data-do]");
      const block = button?.closest(".ask");
      if (block) acts[button.dataset.do]?.(block);
    });
    element.addEventListener("input", (event) => {
      const block = event.target.name === "answer" && event.target.closest(".ask");
      if (block) store(draftName(block), event.target.value);
    });
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.name === "answer") {
        event.preventDefault();
        event.target.form.requestSubmit();
      }
    });
    for (const [kind, on] of [["pointerover", true], ["focusin", true], ["pointerout", false], ["focusout", false]]) {
      element.addEventListener(kind, (event) => {
        const node = event.target.closest?.(".node");
        if (node) light(node.closest(".map"), on ? node : null);
      });
    }
  }

  tutor.lesson = lesson;
})();
