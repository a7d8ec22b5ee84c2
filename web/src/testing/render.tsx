// Renders the whole app on a fake vDC at one address.
import { createMemoryHistory } from "@tanstack/react-router";
import { render } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { createApi } from "../api/context";
import { App } from "../app";
import type { FakeVdc } from "./fake-vdc";

export function renderApp(vdc: FakeVdc, path = "/") {
  const history = createMemoryHistory({ initialEntries: [path] });
  const api = createApi(vdc.transport());
  const view = render(<App api={api} history={history} />);
  return { ...view, api, history, user: userEvent.setup() };
}

/** Signed in, with an own password. */
export function signIn(vdc: FakeVdc): FakeVdc {
  vdc.signedIn = true;
  vdc.mustChange = false;
  return vdc;
}
