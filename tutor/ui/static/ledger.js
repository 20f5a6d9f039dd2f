/* Feedback beside an answer: thumbs, reasons, corrections, and taking them back. Adds to what app.js defines. */
(() => {
  "use strict";
  const tutor = window.studyTutor;
  if (!tutor || tutor.ledger) return;
  tutor.ledger = true;

  const { acts, call, note, newId } = tutor;

  /** Send what is said about an answer, and draw what the server makes of it; `focus` finds where one was. */
  async function send(button, action, sent, focus) {
    const block = button.closest(".feedback");
    const turn = Number(block.dataset.turn);
    const saved = await call(() => tutor.chatServer()[action]({ turn, ...sent }), button);
    if (!saved) return;
    if (saved.error) {
      note(button, saved.error);
      return;
    }
    const draft = "correction" in sent ? null : unsaved(block);
    block.outerHTML = saved.html;
    const drawn = document.querySelector(`.feedback[data-turn="${turn}"]`);
    if (!restore(drawn, draft)) drawn?.querySelector(focus)?.focus({ preventScroll: true });
  }

  /** What is being written into the correction and not saved yet: drawing the block anew would lose it. */
  function unsaved(block) {
    const field = block.querySelector("[name=correction]");
    if (!field || field.value === field.defaultValue) return null;
    const { value, selectionStart, selectionEnd } = field;
    return { value, selectionStart, selectionEnd, focused: document.activeElement === field };
  }

  /** Put it back; true if the learner is writing in it. */
  function restore(block, draft) {
    const field = draft && block?.querySelector("[name=correction]");
    if (!field) return false;
    field.value = draft.value;
    field.closest("details").open = true;
    field.setSelectionRange(draft.selectionStart, draft.selectionEnd);
    if (draft.focused) field.focus({ preventScroll: true });
    return draft.focused;
  }

  const rate = (button, rating, more, focus = `.${rating}`) =>
    send(button, "rate", { rating, request_id: newId(), ...more }, focus);

  acts.rate = (button) => rate(button, button.dataset.rating);
  acts.reason = (button) => {
    const reason = button.dataset.reason;
    const off = button.getAttribute("aria-pressed") === "true";
    rate(button, "down", { reason: off ? "" : reason }, `[data-reason=${reason}]`);
  };
  acts.unrate = (button) => send(button, "unrate", {}, ".up");

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.act !== "correct") return;
    event.preventDefault();
    const button = form.querySelector("[type=submit]");
    if (!button.hasAttribute("aria-busy")) rate(button, form.dataset.rating, { correction: new FormData(form).get("correction") });
  });
})();
