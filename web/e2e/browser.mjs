// A real browser, and what is looked at on every page: both themes, accessibility, and a quiet console.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Under emulation on a busy machine a guest needs a while; a page does not. */
export const SLOW_MS = 120_000;

export class Browser {
  /** `context`: what Playwright calls options of a browser context. */
  static async open(origin, shots, context = {}) {
    const self = new Browser();
    mkdirSync(shots, { recursive: true });
    self.shots = shots;
    self.problems = [];
    self.browser = await chromium.launch({ executablePath: process.env.QUANTIX_CHROMIUM ?? "/usr/bin/chromium", args: ARGS });
    const opened = await self.browser.newContext({ baseURL: origin, viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", ...context });
    self.page = await opened.newPage();
    self.page.setDefaultTimeout(30_000);
    self.page.on("pageerror", (error) => self.problems.push(`page error: ${error}`));
    self.page.on("console", (message) => {
      // A refused call is what some steps want; the browser logs its status line.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) self.problems.push(`console: ${message.text()}`);
    });
    return self;
  }

  /** Screenshots in light and dark, and no serious accessibility finding in either. */
  async look(name) {
    for (const theme of ["light", "dark"]) {
      await this.page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
      await this.page.waitForTimeout(150);
      await this.page.screenshot({ path: join(this.shots, `${name}-${theme}.png`) });
      await this.page.evaluate(AXE);
      const found = await this.page.evaluate(async () => {
        const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
        return violations
          .filter((v) => v.impact === "serious" || v.impact === "critical")
          .map((v) => `${v.id}: ${v.help} (${v.nodes.slice(0, 3).map((n) => n.target.join(" ")).join("; ")})`);
      });
      this.problems.push(...found.map((text) => `axe on ${name}, ${theme}: ${text}`));
    }
    await this.page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  }

  /** The error panel with this code, with its remedy. */
  async fault(code) {
    const panel = this.page.getByRole("alert", { name: `Error ${code}` }).first();
    await panel.waitFor({ timeout: SLOW_MS });
    const text = await panel.innerText();
    if (!text.includes("What to do")) throw new Error(`${code} has no remedy on screen: ${text}`);
    return text;
  }

  button(name) {
    return this.page.getByRole("button", { name, exact: true });
  }

  async go(place) {
    await this.page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: place, exact: true }).click();
    await this.page.getByRole("heading", { name: place, level: 1 }).waitFor();
  }
}

/** Takes from a field that searches: the first that can be had and has `part` in its name. */
export async function choose(dialog, label, part = "") {
  const field = dialog.getByRole("combobox", { name: label, exact: true });
  await field.click();
  if (part) await field.fill(part);
  const list = dialog.page().getByRole("listbox", { name: label, exact: true });
  await list.getByRole("option").filter({ hasText: part }).and(dialog.page().locator(":not([aria-disabled=true])")).first().click();
  await list.waitFor({ state: "detached" });
}
