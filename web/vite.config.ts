import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

// PatternFly's base sheet carries its own typefaces and three looks that Quantix does not offer.
function leanPatternFly(): Plugin {
  const unused = /(^|\n)[^{}]*pf-v6-theme-(felt|glass|high-contrast)[^{}]*\{[^{}]*\}/g;
  return {
    name: "quantix-lean-patternfly",
    enforce: "pre",
    transform(code, id) {
      if (!id.includes("@patternfly/react-core/dist/styles/base.css")) return null;
      return { code: code.replace(/@font-face\s*\{[^}]*\}/g, "").replace(unused, "\n"), map: null };
    },
  };
}

const vdc = "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [leanPatternFly(), react()],
  server: {
    proxy: {
      "^/quantix\\.": { target: vdc },
      "/api": { target: vdc, ws: true },
    },
  },
  build: { target: "es2022", chunkSizeWarningLimit: 700, reportCompressedSize: false, manifest: true },
  test: {
    environment: "jsdom",
    setupFiles: ["src/testing/setup.ts"],
    include: ["src/**/*.test.{ts,tsx}"],
    css: false,
    testTimeout: 20_000,
    server: { deps: { inline: [/@patternfly\//] } },
  },
});
