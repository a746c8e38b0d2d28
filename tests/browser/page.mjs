// Opens Serin's page in Chromium: overview, a service and a deployment under way, in light, dark and
// on a phone; no console error, no accessibility violation, buttons work, changes arrive by themselves.
//
//   node page.mjs BASE_URL [FOLDER_FOR_SCREENSHOTS]
//
// BASE_URL is a running Serin with a deployment under way. Exits 0 when all holds; else names what
// does not. CHROMIUM names another browser than /usr/bin/chromium.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const base = process.argv[2];
const folder = process.argv[3] ?? "screenshots";
if (!base) {
  console.error("usage: node page.mjs BASE_URL [FOLDER_FOR_SCREENSHOTS]");
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const problems = [];
const LOOKS = [
  { name: "light", colorScheme: "light", viewport: { width: 1200, height: 900 } },
  { name: "dark", colorScheme: "dark", viewport: { width: 1200, height: 900 } },
  { name: "phone", colorScheme: "light", viewport: { width: 390, height: 844 } },
];

function expect(truth, what) {
  if (!truth) problems.push(what);
  console.log(`${truth ? "ok" : "NOT"}  ${what}`);
}

// Waits for a condition with a bound; says whether it came.
async function until(condition, seconds = 15) {
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) {
    if (await condition()) return true;
    await new Promise((done) => setTimeout(done, 100));
  }
  return false;
}

async function json(path, options) {
  const answer = await fetch(base + path, options);
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

// The page forbids foreign scripts, so the rules are run by the debugger, which may.
async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const v of violations) {
    for (const node of v.nodes.slice(0, 5)) console.log(`     ${v.id} (${v.impact}): ${v.help}: ${node.html.slice(0, 160)} ${node.failureSummary ?? ""}`);
  }
  expect(violations.length === 0, `${what}: no accessibility violation`);
}

function watched(page, what) {
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(`${what}: console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`${what}: ${error}`));
  page.on("dialog", (dialog) => {
    problems.push(`${what}: a dialog opened: ${dialog.message()}`);
    dialog.dismiss();
  });
}

const ON_TRIAL = ["starting the canary", "progressing", "baking", "comparing again"];
let live;
const began = await until(async () => {
  const { services } = await json("/api/v1/services");
  live = services.find((service) => ON_TRIAL.includes(service.live?.phase));
  return Boolean(live);
}, 90);
if (!began) {
  console.error("no deployment came under way within 90 s; start this while one is");
  process.exit(2);
}
const path = `/deployments/${live.live.id}`;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage();
  watched(page, "buttons");
  await page.goto(base + path);
  expect(await until(async () => (await page.textContent("#pulse")) === "live"), "the page is connected");
  await page.evaluate(() => { window.sameDocument = true; });
  await page.focus("#do-pause");
  await page.keyboard.press("Enter");
  expect(await until(() => page.isVisible("#do-resume")), "pause, by keyboard: the page changes by itself");
  expect((await json(`/api/v1/services/${live.name}`)).live?.pausedBy === "the page", "pause: the API agrees");
  await page.screenshot({ path: join(folder, "paused.png"), fullPage: true });
  await page.click("#do-resume");
  expect(await until(() => page.isVisible("#do-pause")), "resume: the page changes by itself");

  const order = (action) => json(`/api/v1/services/${live.name}/actions`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ action, by: "a test elsewhere" }),
  });
  await page.locator("details.fold summary").first().click().catch(() => {});
  await order("pause");
  expect(await until(async () => (await page.textContent("main")).includes("paused by a test elsewhere")), "a change from elsewhere arrives");
  expect(await page.evaluate(() => window.sameDocument === true), "and the page was not reloaded");

  const plain = await browser.newContext({ javaScriptEnabled: false });
  const still = await plain.newPage();
  await still.goto(base + path);
  await still.click("#do-resume");
  expect(await still.isVisible("#do-pause"), "without JavaScript: resume works");
  await still.click("#do-pause");
  expect(await still.isVisible("#do-resume"), "without JavaScript: pause works");
  await still.click("#confirm-abort summary");
  expect(await still.isVisible("#do-abort"), "without JavaScript: abort asks first");

  // Paused, it stays while everything is looked at, unless it fails.
  const { deployments } = await json("/api/v1/deployments?limit=200");
  const over = deployments.find((d) => d.outcome === "rolledBack") ?? deployments.find((d) => d.outcome);
  const pages = [
    ["overview", "/"],
    ["service", `/services/${live.name}`],
    ["deployment", path],
    ...(over ? [["finished", `/deployments/${over.id}`]] : []),
    ["missing", "/no/such/page"],
  ];
  for (const look of LOOKS) {
    const context = await browser.newContext({ colorScheme: look.colorScheme, viewport: look.viewport });
    for (const [name, path] of pages) {
      const page = await context.newPage();
      const what = `${name}, ${look.name}`;
      if (name !== "missing") watched(page, what);
      await page.goto(base + path, { waitUntil: "load" });
      await page.screenshot({ path: join(folder, `${name}-${look.name}.png`), fullPage: true });
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(wider <= 0, `${what}: nothing is wider than the screen (${wider} px)`);
      if (look.name !== "phone" || name === "deployment") await accessible(page, what);
      const bytes = await page.evaluate(() => {
        const loaded = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
        return loaded.filter((e) => e.initiatorType !== "fetch" && !e.name.includes("/stream")).reduce((sum, e) => sum + e.encodedBodySize, 0);
      });
      expect(bytes < 100_000, `${what}: small (${Math.round(bytes / 1000)} kB)`);
      await page.close();
    }
    await context.close();
  }
  await order("resume");
} finally {
  await browser.close();
}
if (problems.length > 0) {
  console.error(`\n${problems.length} problems:\n${problems.join("\n")}`);
  process.exit(1);
}
