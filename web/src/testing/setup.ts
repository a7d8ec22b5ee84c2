// What jsdom lacks and the app uses; and a clean page after each test.
import { cleanup, configure } from "@testing-library/react";
import { afterEach } from "vitest";

// What a page should show it shows in the end, also on a machine that compiles beside.
configure({ asyncUtilTimeout: 8_000 });

Object.defineProperty(window, "matchMedia", {
  value: () => ({ matches: false, addEventListener: () => {}, removeEventListener: () => {} }),
});
window.scrollTo = () => {};
Element.prototype.scrollIntoView = () => {};
Element.prototype.scrollTo = () => {};

afterEach(() => {
  cleanup();
  window.localStorage.clear();
});
