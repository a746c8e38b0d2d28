// Starts `serin demo`, opens its pages with page.mjs, and ends it; then the reports of browsers, rum.mjs. Used by
// `tests/run browser`.
//
//   node run.mjs SERIN_BINARY [FOLDER_FOR_SCREENSHOTS]
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const [binary, folder = join(here, "screenshots")] = process.argv.slice(2);
if (!binary) {
  console.error("usage: node run.mjs SERIN_BINARY [FOLDER_FOR_SCREENSHOTS]");
  process.exit(2);
}

const work = mkdtempSync(join(tmpdir(), "serin-browser-"));
const demo = spawn(binary, ["demo", "--dir", work, "--listen", "127.0.0.1:0"], { stdio: ["ignore", "inherit", "pipe"] });
const ended = once(demo, "exit");
const lines = createInterface({ input: demo.stderr });

// The address of the page, once the first canary has traffic; a bound in case it never comes.
function underWay() {
  return new Promise((found, failed) => {
    let page;
    const late = setTimeout(() => failed(new Error("the demo has no deployment under way after 60 s")), 60_000);
    lines.on("line", (line) => {
      console.error(line);
      page ??= line.match(/^\s*page\s+(http:\S+)/)?.[1];
      if (page && line.includes("step 1 of")) {
        clearTimeout(late);
        found(page);
      }
    });
    demo.on("exit", () => failed(new Error("the demo ended before a deployment was under way")));
  });
}

let status = 1;
try {
  const page = await underWay();
  status = spawnSync("node", [join(here, "page.mjs"), page, folder], { stdio: "inherit", timeout: 240_000 }).status ?? 1;
} catch (error) {
  console.error(error.message);
} finally {
  demo.kill("SIGTERM");
  await ended.catch(() => {});
  rmSync(work, { recursive: true, force: true });
}
if (status === 0) {
  status = spawnSync("node", [join(here, "rum.mjs"), binary], { stdio: "inherit", timeout: 120_000 }).status ?? 1;
}
process.exit(status);
