// Live updates and buttons: listens for changes, fetches the changing part of the page again, about
// once a second at most, and replaces only the sections that differ, so that focus, open details
// and the place on the page stay. Without this file everything works as well, by reloading.
"use strict";
(() => {
  const main = document.getElementById("main");
  const pulse = document.getElementById("pulse");
  const said = document.getElementById("said");
  const PAUSE = 1000;
  let last = 0, timer = 0, busy = false, again = false;

  function show(state, text) {
    pulse.hidden = false;
    pulse.className = "pulse " + state;
    pulse.textContent = text;
  }

  function say(text, bad) {
    said.textContent = text;
    said.className = "said shown" + (bad ? " bad" : "");
    clearTimeout(say.timer);
    say.timer = setTimeout(() => { said.className = "said"; }, 8000);
  }

  // Puts the new sections in place of the old ones that differ, in their order.
  function replace(html) {
    const next = document.createElement("main");
    next.innerHTML = html;
    const open = [...main.querySelectorAll("details[open][id]")].map((d) => d.id);
    const focused = document.activeElement && main.contains(document.activeElement) ? document.activeElement : null;
    const key = focused && (focused.id || focused.getAttribute("href") || (focused.closest("details[id]") || {}).id);
    const old = new Map([...main.children].map((part) => [part.dataset.part, part]));
    let at = null;
    for (const part of [...next.children]) {
      const before = old.get(part.dataset.part);
      old.delete(part.dataset.part);
      for (const id of open) {
        const details = part.querySelector("#" + CSS.escape(id));
        if (details) details.open = true;
      }
      let placed = before;
      if (!before || before.outerHTML !== part.outerHTML) {
        placed = part;
        if (before) before.replaceWith(part);
      }
      const following = at ? at.nextElementSibling : main.firstElementChild;
      if (following !== placed) main.insertBefore(placed, following);
      at = placed;
    }
    for (const part of old.values()) part.remove();
    if (focused && !document.contains(focused) && key) {
      const again = [...main.querySelectorAll("a, button, summary, [tabindex]")].find((e) =>
        e.id === key || e.getAttribute("href") === key || (e.matches("summary") && e.parentElement.id === key));
      if (again) again.focus({ preventScroll: true });
    }
  }

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    last = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { "X-Fragment": "main" }, credentials: "same-origin" });
      if (answer.status === 401) { location.reload(); return; }
      if (answer.ok) replace(await answer.text());
    } catch {
      show("off", "no connection");
    } finally {
      busy = false;
      if (again) { again = false; soon(); }
    }
  }

  function soon() {
    if (timer) return;
    const wait = Math.max(0, last + PAUSE - Date.now());
    timer = setTimeout(() => { timer = 0; if (!document.hidden) refresh(); else again = true; }, wait);
  }

  function listen() {
    const of = document.body.dataset.live;
    const stream = new EventSource("/api/v1/stream" + (of ? "?service=" + encodeURIComponent(of) : ""));
    stream.onopen = () => { show("on", "live"); soon(); };
    stream.onerror = () => {
      show("off", "connecting");
      if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
    };
    stream.addEventListener("update", soon);
    stream.addEventListener("resync", soon);
  }

  if (document.body.dataset.live !== undefined) {
    listen();
    // What is said in words, "12 s ago", moves on also when nothing happens.
    setInterval(soon, 20000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) { again = false; soon(); } });
  }

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("form[data-order]")) return;
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const answer = await fetch("/api/v1" + form.getAttribute("action") + "/actions", {
        method: "POST",
        credentials: "same-origin",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ action: form.elements.action.value, by: "the page" }),
      });
      const body = await answer.json();
      if (answer.ok) say(body.reason); else say(body.error + "; " + body.hint, true);
    } catch {
      say("Serin could not be reached; nothing was changed", true);
    }
    button.disabled = false;
    const details = form.closest("details");
    if (details) details.open = false;
    soon();
  });
})();
