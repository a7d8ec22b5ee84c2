// Light, dark, or as the system says; remembered in this browser.
import { useSyncExternalStore } from "react";

export type ThemeChoice = "system" | "light" | "dark";
const KEY = "quantix.theme";
const DARK_CLASS = "pf-v6-theme-dark";
const listeners = new Set<() => void>();
const system = window.matchMedia?.("(prefers-color-scheme: dark)");

function read(): ThemeChoice {
  const saved = window.localStorage.getItem(KEY);
  return saved === "light" || saved === "dark" ? saved : "system";
}

function apply(): void {
  const choice = read();
  const dark = choice === "dark" || (choice === "system" && (system?.matches ?? false));
  document.documentElement.classList.toggle(DARK_CLASS, dark);
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
}

export function startTheme(): void {
  apply();
  system?.addEventListener("change", apply);
}

export function setTheme(choice: ThemeChoice): void {
  if (choice === "system") window.localStorage.removeItem(KEY);
  else window.localStorage.setItem(KEY, choice);
  apply();
  for (const listener of listeners) listener();
}

export function useTheme(): ThemeChoice {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    read,
    () => "system" as const,
  );
}
