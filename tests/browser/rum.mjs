// Real user monitoring, driven in Chromium: a page of two versions is opened, used and left, and Serin must have counted
// poor web vitals and a script error of the worse version and none of the other, from its own script and from the
// web-vitals library alike.
//
//   node rum.mjs SERIN_BINARY
//
// Exits 0 when all holds; else names what does not. CHROMIUM names another browser than /usr/bin/chromium.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const binary = process.argv[2];
if (!binary) {
  console.error("usage: node rum.mjs SERIN_BINARY");
  process.exit(2);
}
const here = dirname(fileURLToPath(import.meta.url));
const CANARY = "4f2c1a9b0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f";
const BASELINE = "0d1c2b3a4f5e6d7c8b9a0f1e2d3c4b5a6f7e8d9c";
const VIEWS = 3;
const problems = [];

function expect(truth, what) {
  if (!truth) problems.push(what);
  console.log(`${truth ? "ok" : "NOT"}  ${what}`);
}

// The shop: its page, in the version that the address names.
let serin;
const folder = dirname(createRequire(import.meta.url).resolve("web-vitals"));
const library = readFileSync(join(folder, "web-vitals.iife.js"), "utf8");
const template = readFileSync(join(here, "rum.html"), "utf8");
const shop = createServer((request, response) => {
  if (request.url === "/web-vitals.js") {
    return response.setHeader("content-type", "text/javascript").end(library);
  }
  const worse = request.url.startsWith("/cart/4711");
  const filled = { serin, version: worse ? CANARY : BASELINE, worse };
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.end(template.replace(/\{\{(\w+)\}\}/g, (whole, name) => filled[name] ?? whole));
});
await once(shop.listen(0, "127.0.0.1"), "listening");
const origin = `http://127.0.0.1:${shop.address().port}`;

// A Serin that watches an empty repository and takes reports of the shop's pages.
const work = mkdtempSync(join(tmpdir(), "serin-rum-"));
const git = (...words) => {
  const { status, stderr } = spawnSync("git", ["-C", work, ...words], { encoding: "utf8" });
  if (status !== 0) throw new Error(`git ${words.join(" ")}: ${stderr}`);
};
git("init", "--quiet", "--initial-branch", "main", "shop");
git("-C", "shop", "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "--allow-empty", "-m", "Begin");
writeFileSync(join(work, "serin.yaml"), `listen: 127.0.0.1:0
repositories: [{ name: shop, url: ${join(work, "shop")}, branch: main }]
rum: { origins: ["${origin}"] }
`);
const running = spawn(binary, ["run", "--config", join(work, "serin.yaml")], { stdio: ["ignore", "pipe", "pipe"] });
const ended = once(running, "exit");

// The address of the page; a bound in case it never comes.
function listening() {
  return new Promise((found, failed) => {
    const late = setTimeout(() => failed(new Error("Serin does not listen after 30 s")), 30_000);
    const look = (line) => {
      console.error(line);
      const address = line.replace(/\u001b\[[0-9;]*m/g, "").match(/the page is at (http:\/\/[\d.:]+)/)?.[1];
      if (address) {
        clearTimeout(late);
        found(address);
      }
    };
    for (const stream of [running.stdout, running.stderr]) createInterface({ input: stream }).on("line", look);
    running.on("exit", () => failed(new Error("Serin ended")));
  });
}

async function counted() {
  const answer = await fetch(`${serin}/api/v1/rum`);
  if (!answer.ok) throw new Error(`/api/v1/rum: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

// Waits until so much was counted, with a bound; returns what was.
async function until(condition, seconds) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const counts = await counted();
    if (condition(counts) || Date.now() > end) return counts;
    await new Promise((done) => setTimeout(done, 200));
  }
}

const of = (counts, app, version) => counts.apps.find((one) => one.app === app && one.version === version);
const told = (share) => share && `${share.bad} of ${share.of}`;

let status = 1;
let browser;
try {
  serin = await listening();
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const page = await browser.newPage();
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().includes("no price")) problems.push(`console: ${message.text()}`);
  });
  const clicks = { [CANARY]: 0, [BASELINE]: 0 };
  for (let view = 0; view < VIEWS; view += 1) {
    for (const path of ["/cart/4711?user=ada#top", "/cart/12?user=ada"]) {
      await page.goto(origin + path, { waitUntil: "load" });
      const measured = (what, timeout) => page.waitForSelector(`body[data-${what}]`, { state: "attached", timeout });
      const version = path.startsWith("/cart/4711") ? CANARY : BASELINE;
      await page.click("button");
      // Now and then a headless Chromium tells nobody how long a click took; then the page has no INP.
      if (await measured("input", 5_000).then(() => true, () => false)) clicks[version] += 1;
      await measured("ready", 10_000);
      if (version === CANARY) await measured("shift", 10_000);
      // The library looks at what was measured when the page has nothing else to do.
      await page.evaluate(() => new Promise((done) => requestIdleCallback(() => done(), { timeout: 1000 })));
    }
  }
  // The last page is left as well.
  await page.goto("about:blank");

  const whole = (counts) => [CANARY, BASELINE].every((version) => {
    const [own, library] = [of(counts, "shop", version), of(counts, "library", version)];
    return own?.sessions.of >= VIEWS && library?.vitals.CLS.of >= VIEWS && library.vitals.INP.of >= clicks[version];
  });
  const counts = await until(whole, 40);
  console.log(JSON.stringify(counts, null, 1));
  const [worse, usual] = [of(counts, "shop", CANARY), of(counts, "shop", BASELINE)];
  expect(told(worse?.sessions) === `${VIEWS} of ${VIEWS}`, "each view of the worse version had a script error");
  expect(told(usual?.sessions) === `0 of ${VIEWS}`, "no view of the other had one");
  expect(worse?.errors[0]?.error === "TypeError: no price for item * of *", "the error is told, masked");
  for (const app of ["shop", "library"]) {
    const vital = (version, name) => told(of(counts, app, version)?.vitals[name]);
    for (const [name, bad] of [["CLS", true], ["INP", true], ["FCP", false], ["TTFB", false], ["LCP", false]]) {
      for (const version of [CANARY, BASELINE]) {
        const views = name === "INP" ? clicks[version] : VIEWS;
        const expected = `${bad && version === CANARY ? views : 0} of ${views}`;
        expect(vital(version, name) === expected, `${app} ${version.slice(0, 7)}: poor ${name} ${expected} (${vital(version, name)})`);
      }
    }
  }
  expect(clicks[CANARY] > 0 && clicks[BASELINE] > 0, "Chromium measured clicks");
  expect(counts.leftOut.length === 0, "nothing was left out");
  const text = JSON.stringify(counts);
  expect(!/ada|4711|user=/.test(text), "nothing of a visitor is told");

  const foreign = await browser.newPage();
  await foreign.goto(origin.replace("127.0.0.1", "localhost"));
  const read = await foreign.evaluate(async (url) => {
    try {
      return (await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" })).status;
    } catch (error) {
      return error.name;
    }
  }, `${serin}/v1/rum/faro`);
  expect(read === "TypeError", "a page of another origin is not let in");
  status = problems.length === 0 ? 0 : 1;
} catch (error) {
  console.error(error);
} finally {
  await browser?.close();
  shop.close();
  running.kill("SIGTERM");
  await ended.catch(() => {});
  rmSync(work, { recursive: true, force: true });
}
if (problems.length > 0) console.error(`\n${problems.length} problems:\n${problems.join("\n")}`);
process.exit(status);
