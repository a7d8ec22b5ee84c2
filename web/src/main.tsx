// Starts the app: theme first, so that nothing flashes.
import "@patternfly/react-core/dist/styles/base.css";
import "./theme/tokens.css";
import "./ui/ui.css";
import "./shell/shell.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createApi } from "./api/context";
import { createTransport } from "./api/transport";
import { App } from "./app";
import { startTheme } from "./theme/theme";

startTheme();
const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <App api={createApi(createTransport())} />
  </StrictMode>,
);
