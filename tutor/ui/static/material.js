/* The Material page: files go up one after the other, and what is indexed is listed. Adds to what app.js defines.
   Every name is written as text: it comes from strangers' files. */
(() => {
  "use strict";
  const tutor = window.studyTutor;
  if (!tutor || tutor.material) return;

  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const { newId } = tutor;
  const LOST = "That did not reach the server. Try again.";
  const FILTER_FROM = 20;
  const NO_TEXT = /^(image|audio|video|font)\//;
  const plural = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;

  /** make("p.hint", {title}, "text", child ...): an element; strings become text, never HTML. */
  function make(what, attributes, ...children) {
    const [tag, ...classes] = what.split(".");
    const element = document.createElement(tag);
    element.classList.add(...classes);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child != null && child !== ""));
    return element;
  }

  function material({ element, watch }) {
    const queue = [];
    const listed = { collections: [], deleted: [] };
    let running = false;
    let done = 0;
    let rejected = 0;
    let redraw = 0;

    const tell = (text) => {
      const line = $("#told", element);
      line.textContent = line.textContent === text ? `${text} ` : text; // said again, it must differ to be heard
    };

    /* ---- uploads ---- */

    function add(found, fromFolder) {
      const collection = $("#collection", element).value.trim();
      const wanted = found.filter(({ file, path }) => {
        const hidden = path.split("/").some((part) => part.startsWith("."));
        return !fromFolder || (!hidden && !NO_TEXT.test(file.type));
      });
      if (!wanted.length) {
        tell(found.length ? "There is no document in this folder." : "");
        return;
      }
      $("#uploads", element).hidden = false;
      for (const { file, path } of wanted) {
        const upload = { file, path, collection, id: newId(), row: make("li.upload") };
        $("#upload-rows", element).append(upload.row);
        waiting(upload);
      }
    }

    function waiting(upload) {
      show(upload, "Waiting…");
      queue.push(upload);
      next();
    }

    async function next() {
      if (running) return;
      const upload = queue.shift();
      head();
      if (!upload) return;
      running = true;
      await send(upload);
      running = false;
      next();
    }

    function head() {
      const rows = all(".upload", element).length;
      const left = queue.length + (running ? 1 : 0);
      const title = left ? `Adding ${rows - left + 1} of ${rows}` : `${plural(done, "file")} done`;
      $("#uploads-title", element).textContent = left ? title : rejected ? `${title}, ${rejected} not taken` : title;
      $("[data-do=clear]", element).hidden = Boolean(left);
    }

    function show(upload, text, state = "", ...more) {
      const name = make("span.upload-name", null, upload.path);
      const into = upload.collection && upload.collection !== "My material" ? make("span.hint", null, upload.collection) : null;
      upload.row.className = `upload ${state}`;
      upload.row.replaceChildren(make("div.upload-what", null, name, into), make("p.upload-said", null, text), ...more);
    }

    function send(upload) {
      const most = Number($("#files", element).dataset.most);
      if (upload.file.size > most) {
        refused(upload, `too large; the limit is ${most / 1024 ** 2} MB; split it`);
        return Promise.resolve();
      }
      head();
      const bar = make("progress", { max: 1, value: 0, "aria-label": `Upload of ${upload.path}` });
      show(upload, "Uploading…", "is-busy", bar);
      const asked = new URLSearchParams({ collection: upload.collection, path: upload.path, request_id: upload.id });
      return new Promise((resolve) => {
        const request = new XMLHttpRequest();
        request.open("POST", `./material/upload?${asked}`);
        request.responseType = "json";
        request.setRequestHeader("Content-Type", "application/octet-stream");
        request.upload.addEventListener("progress", (event) => {
          if (event.lengthComputable) bar.value = event.loaded / event.total;
        });
        request.upload.addEventListener("load", () => {
          bar.removeAttribute("value");
          $(".upload-said", upload.row).textContent = "Reading…";
        });
        request.addEventListener("loadend", () => {
          answered(upload, request.status, request.response);
          resolve();
        });
        request.send(upload.file);
      });
    }

    function answered(upload, status, reply) {
      if (status === 200 && reply?.state === "rejected") {
        refused(upload, reply.reason);
      } else if (status === 200 && reply) {
        done += 1;
        const word = reply.state[0].toUpperCase() + reply.state.slice(1);
        const what = `${reply.documents === 1 ? "" : `${plural(reply.documents, "document")}, `}${plural(reply.passages, "passage")}`;
        const left = reply.rejected_count ? `, ${reply.rejected_count} inside not taken` : "";
        const more = (reply.rejected ?? []).map((one) => make("li", null, `${one.name}: ${one.reason}`));
        const list = more.length ? make("details.members", null, make("summary", null, "Not taken"), make("ul", null, ...more)) : null;
        show(upload, `${word} · ${what}${left}`, `is-${reply.state}`, ...(list ? [list] : []));
        tell(`${upload.path}: ${reply.state}, ${what}${left}.`);
        later();
      } else if (status >= 400 && status < 500) {
        refused(upload, reply?.error ?? "it was refused");
      } else {
        const why = reply?.error ?? LOST;
        const again = make("button.button.quiet", { type: "button", "data-do": "again", "aria-label": `Try ${upload.path} again` }, "Try again");
        again.addEventListener("click", () => waiting(upload));
        show(upload, why, "is-rejected", again);
        tell(`${upload.path}: ${why}`);
      }
    }

    function refused(upload, reason) {
      done += 1;
      rejected += 1;
      const text = `Not taken: ${reason}`;
      show(upload, /[.!?]$/.test(text) ? text : `${text}.`, "is-rejected");
      tell(`${upload.path} is not taken: ${reason}`);
    }

    const pathOf = (file) => file.webkitRelativePath || file.name;
    function chosen(input) {
      add([...input.files].map((file) => ({ file, path: pathOf(file) })), input.id === "folder");
      input.value = ""; // the same file may be chosen again
    }

    /** The files of a drop, folders and all. What is read of it must be taken before the first wait. */
    async function dropped(transfer) {
      const items = [...(transfer.items ?? [])].filter((item) => item.kind === "file");
      const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
      const files = [...transfer.files];
      if (!entries.some((entry) => entry?.isDirectory)) return add(files.map((file) => ({ file, path: file.name })), false);
      const found = [];
      for (const entry of entries) if (entry) await walk(entry, found);
      return add(found, true);
    }

    async function walk(entry, found) {
      if (entry.isFile) {
        const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
        if (file) found.push({ file, path: entry.fullPath.replace(/^\//, "") });
        return;
      }
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
        if (!some.length) return;
        for (const inner of some) await walk(inner, found);
      }
    }

    /* ---- the list ---- */

    const keyOf = (source, file) => JSON.stringify([source, file]);

    function later() {
      clearTimeout(redraw);
      redraw = setTimeout(refresh, 300);
    }

    async function refresh() {
      clearTimeout(redraw);
      try {
        const response = await fetch("./material/list", { cache: "no-store" });
        if (!response.ok) throw new Error();
        Object.assign(listed, await response.json());
      } catch {
        if (!listed.collections.length) $("#collections", element).replaceChildren(make("p.error", { role: "alert" }, LOST));
        return;
      }
      draw();
    }

    function draw() {
      const box = $("#collections", element);
      const open = new Map(all("details[data-key]", box).map((one) => [one.dataset.key, one.open]));
      const focused = document.activeElement?.dataset?.focus;
      const own = listed.collections.filter((one) => one.kind !== "course");
      const nothing = own.length ? null : make("p.empty", null, "Nothing of yours yet. Add a document above, then ask about it in the chat.");
      box.replaceChildren(...(nothing ? [nothing] : []), ...listed.collections.map((one) => section(one, open)));
      const names = listed.collections.filter((one) => one.kind === "own").map((one) => make("option", { value: one.name }));
      $("#collection-names", element).replaceChildren(...names);
      const files = listed.collections.reduce((sum, one) => sum + one.files.length, 0);
      $(".filter", element).hidden = files <= FILTER_FROM && !$("#filter", element).value;
      trash();
      filter();
      if (focused) all("[data-focus]", element).find((one) => one.dataset.focus === focused)?.focus({ preventScroll: true });
    }

    function section(one, open) {
      const key = keyOf(one.source, null);
      const title = make("span.collection-name", null, one.name);
      const mark = one.mark ? make("span.tag", null, one.mark) : null;
      const summary = make("summary", { "data-focus": `open ${key}` }, title, mark, make("span.hint", null, one.summary));
      const details = make("details.collection", { "data-key": key, open: open.get(key) ?? one.kind !== "course" }, summary);
      if (one.note) details.append(make("p.hint", { title: one.place || null }, one.note));
      details.append(make("ul.rows", null, ...one.files.map((file) => row(one, file))));
      if (one.editable) {
        const label = `Delete the collection “${one.name}”`;
        details.append(make("button.text-button", { type: "button", "data-do": "delete", "data-source": one.source, "data-focus": `delete ${key}` }, label));
      }
      return details;
    }

    function row(one, file) {
      const key = keyOf(one.source, file.file);
      const title = file.link ? make("a", { href: file.link }, file.title) : make("span.file-title", null, file.title);
      const facts = file.name && one.editable ? `${file.name} · ${file.facts}` : file.facts;
      const what = make("div.file-what", null, title, make("span.row-facts", null, facts));
      if (file.members.length) {
        const members = file.members.map((member) => make("li", null, make("a", { href: member.link }, member.title)));
        const inside = make("summary", null, "Documents inside");
        what.append(make("details.members", { "data-key": key }, inside, make("ul", null, ...members)));
      }
      const remove = one.editable
        ? make("button.text-button", { type: "button", "data-do": "delete", "data-source": one.source, "data-file": file.file, "data-focus": `delete ${key}`, "aria-label": `Delete ${file.title}` }, "Delete")
        : null;
      const search = `${file.title} ${file.file} ${one.name} ${file.members.map((member) => member.title).join(" ")}`;
      return make("li.file", { "data-search": search.toLowerCase() }, what, remove);
    }

    function trash() {
      const rows = listed.deleted.map((one) =>
        make("li.file", null,
          make("div.file-what", null, make("span.file-title", null, one.name), make("span.row-facts", null, [one.from, one.what, `deleted ${one.when}`].filter(Boolean).join(" · "))),
          make("button.text-button", { type: "button", "data-do": "undo", "data-deletion": one.id, "aria-label": `Bring ${one.name} back` }, "Undo")));
      const was = $("#trash details", element)?.open ?? false;
      const note = make("p.hint", null, "Kept for a week, then removed for good. The tutor doesn’t read it.");
      $("#trash", element).replaceChildren(
        ...(rows.length ? [make("details.collection", { open: was }, make("summary", null, make("span.collection-name", null, "Deleted"), make("span.hint", null, `${rows.length} can come back`)), note, make("ul.rows", null, ...rows))] : []));
    }

    function filter() {
      const wanted = $("#filter", element).value.trim().toLowerCase();
      let found = 0;
      for (const box of all("#collections > details", element)) {
        let here = 0;
        for (const one of all(".file[data-search]", box)) {
          one.hidden = wanted !== "" && !one.dataset.search.includes(wanted);
          here += one.hidden ? 0 : 1;
        }
        box.hidden = wanted !== "" && !here;
        if (wanted && here) box.open = true;
        found += here;
      }
      return found;
    }

    /** Send a word to a route; what it answered, or null after saying beside `near` why not. */
    async function post(near, path, body) {
      if (near.hasAttribute("aria-busy")) return null;
      const place = near.closest("li, .collection, .undo-line");
      $(":scope > .call-error", place)?.remove();
      near.setAttribute("aria-busy", "true");
      near.dataset.request ??= newId();
      let reply;
      try {
        const sent = JSON.stringify({ ...body, request_id: near.dataset.request });
        const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: sent });
        reply = await response.json();
      } catch {
        reply = { error: LOST };
      }
      near.removeAttribute("aria-busy");
      if (!reply.error) return reply;
      place.append(make("p.error.call-error", { role: "alert" }, reply.error));
      return null;
    }

    const acts = {
      files: () => $("#files", element).click(),
      folder: () => $("#folder", element).click(),
      clear: () => {
        $("#upload-rows", element).replaceChildren();
        $("#uploads", element).hidden = true;
        done = rejected = 0;
        $("[data-do=files]", element).focus();
      },
      delete: async (button) => {
        const { source, file } = button.dataset;
        const reply = await post(button, "./material/delete", { source, file: file ?? null });
        if (!reply) return;
        const gone = button.closest(file === undefined ? ".collection" : ".file");
        const undo = make("button.button.quiet", { type: "button", "data-do": "undo", "data-deletion": reply.deletion }, "Undo");
        const line = make(`${gone.tagName === "LI" ? "li" : "div"}.undo-line`, null, make("span", null, reply.told), undo);
        gone.replaceWith(line);
        undo.focus();
        tell(`${reply.told} Undo is possible.`);
      },
      undo: async (button) => {
        if (button.textContent !== "Undo") return;
        const slow = setTimeout(() => (button.textContent = "Bringing it back…"), 400);
        const reply = await post(button, "./material/undo", { deletion: button.dataset.deletion });
        clearTimeout(slow);
        button.textContent = "Undo";
        if (!reply) return;
        await refresh();
        tell(reply.told);
        const key = keyOf(reply.source, reply.file);
        const back = all("[data-focus]", element).find((one) => one.dataset.focus === `delete ${key}`);
        back?.focus();
      },
    };

    element.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-do]");
      if (button) acts[button.dataset.do]?.(button);
      else if (event.target.closest("#drop")) acts.files();
    });
    element.addEventListener("change", (event) => event.target.matches("#files, #folder") && chosen(event.target));
    element.addEventListener("submit", (event) => event.preventDefault());
    element.addEventListener("input", (event) => {
      if (event.target.id !== "filter") return;
      const found = filter();
      tell(event.target.value.trim() ? `${plural(found, "file")} found` : "");
    });

    // A file that misses the zone must not replace the page. "dragenter" and "dragleave" come for every element inside.
    let over = 0;
    const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const lit = (on) => $("#drop", element)?.classList.toggle("is-over", on);
    document.addEventListener("dragenter", (event) => carries(event) && lit((over += 1) > 0));
    document.addEventListener("dragleave", (event) => carries(event) && lit((over = Math.max(0, over - 1)) > 0));
    document.addEventListener("dragover", (event) => carries(event) && event.preventDefault());
    document.addEventListener("drop", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      lit((over = 0) > 0);
      dropped(event.dataTransfer);
    });
    addEventListener("beforeunload", (event) => (running || queue.length) && event.preventDefault());

    tutor.page({ element, watch });
    const opened = () => {
      if (!$("#main", element)) return;
      const folders = "webkitdirectory" in document.createElement("input") && matchMedia("(hover: hover)").matches;
      $("[data-do=folder]", element).hidden = !folders; // a phone's browser has no folders to give
      refresh();
    };
    watch("value", opened);
    opened();
  }

  tutor.material = material;
})();
