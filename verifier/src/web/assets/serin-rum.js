/* Serin. Nothing is stored. */
(() => {
  const me = document.currentScript, set = me?.dataset;
  if (!set?.app || !set.version || Math.random() >= (set.sample || 1)) return;
  const url = new URL("vitals?key=" + (set.key || ""), me.src);
  const shifts = PerformanceObserver.supportedEntryTypes.includes("layout-shift");
  const on = addEventListener;
  const run = () => {
    const late = [];
    let id, vitals, errors, over, soon, burst, slow, unseen;
    const begin = () => {
      id = crypto.getRandomValues(new Uint32Array(4)).join("-");
      vitals = {}; errors = []; over = false; burst = { sum: 0 }; slow = {};
    };
    // Before a view ends only what is final is sent: the others may still rise.
    const send = (all, ended) => {
      clearTimeout(soon);
      soon = 0;
      if (over) return;
      // What was measured and not yet handed over.
      late.forEach((take) => take());
      over = ended;
      const waits = Object.values(slow).sort((a, b) => b - a);
      // The slowest answer; of many the one that is slower than 98 %.
      if (waits[0]) vitals.INP = waits[Math.floor((waits.length - 1) / 50)];
      // As text it needs no preflight.
      navigator.sendBeacon(url, JSON.stringify({
        app: set.app, version: set.version, page: set.page || location.pathname,
        session: id, ended, errors, timestamp: Date.now(),
        vitals: Object.entries(vitals).filter(([name]) => all || /FCP|TTFB/.test(name)).map(([name, value]) => ({ name, value, id })),
      }));
      errors = [];
    };
    const watch = (type, take, durationThreshold) => {
      // What a browser does not measure it does not report.
      try {
        const seen = new PerformanceObserver((list) => over || list.getEntries().forEach(take));
        seen.observe({ type, buffered: true, durationThreshold });
        late.push(() => seen.takeRecords().forEach(take));
      } catch {}
    };
    const mask = (text) => String(text).replace(/(["'`]).*?\1|\S*[\d@/]\S*/g, "*").slice(0, 120);
    const fail = (error, message) => {
      if (errors.length < 10) errors.push({ type: error?.name, message: mask(error?.message || message) });
      soon ||= setTimeout(send, 1e3);
    };
    const start = performance.getEntriesByType("navigation")[0]?.activationStart || 0;
    const put = (name, at) => at > 0 && (vitals[name] = Math.max(0, at - start));
    const answer = (e) => e.interactionId && (slow[e.interactionId] = Math.max(e.duration, slow[e.interactionId] || 0));
    begin();
    unseen = document.hidden;
    watch("navigation", (e) => put("TTFB", e.responseStart));
    watch("paint", (e) => {
      if (unseen || e.name == "first-paint") return;
      put("FCP", e.startTime);
      if (shifts) vitals.CLS ||= 0;
    });
    watch("largest-contentful-paint", (e) => unseen || put("LCP", e.startTime));
    watch("layout-shift", (e) => {
      if (e.hadRecentInput) return;
      const at = e.startTime;
      if (!(at - burst.last < 1e3 && at - burst.first < 5e3)) burst = { sum: 0, first: at };
      burst.last = at;
      burst.sum += e.value;
      vitals.CLS = Math.max(vitals.CLS || 0, burst.sum);
    });
    watch("event", answer, 16);
    watch("first-input", answer);
    on("error", (e) => e.message && fail(e.error, e.message));
    on("unhandledrejection", (e) => fail(e.reason, e.reason));
    // Each view is told at once, so that those with and without errors are counted alike.
    setTimeout(send, 1e3);
    on("visibilitychange", () => document.hidden && send(unseen = true));
    on("pagehide", () => send(true, true));
    on("pageshow", (e) => {
      if (!e.persisted) return;
      begin();
      if (shifts) vitals.CLS = 0;
      send();
    });
  };
  document.prerendering ? document.addEventListener("prerenderingchange", run, { once: true }) : run();
})();
