// Join tokens, and what Add host says of machines that are known, through the whole app on a fake vDC.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { HostPhase, HostSchema, Phase, PhaseState } from "../../api/gen/quantix/host/v1/host_pb";
import { JoinTokenSchema, JoinTokenState } from "../../api/gen/quantix/join_token/v1/join_token_pb";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";
// Fetched here, not while a test waits.
import "../host/add-host";
import "../host/hosts-page";
import "./create-join-token";
import "./join-tokens";

it("creates a token and shows it once, with the command", async () => {
  const vdc = signIn(new FakeVdc());
  const { user, history } = renderApp(vdc, "/hosts");
  await user.click(await screen.findByRole("tab", { name: "Join tokens" }));
  expect(await screen.findByText("No join token yet")).toBeTruthy();
  expect(history.location.href).toBe("/hosts?tab=join-tokens");
  await user.click(screen.getAllByRole("button", { name: "Create join token" })[0] as HTMLElement);
  const form = await screen.findByRole("dialog");
  const uses = within(form).getByLabelText("Hosts that may join");
  await user.clear(uses);
  await user.type(uses, "0");
  expect((within(form).getByRole("button", { name: "Create token" }) as HTMLButtonElement).disabled).toBe(true);
  await user.clear(uses);
  await user.type(uses, "12");
  await user.type(within(form).getByLabelText(/^Note/), "rack 7");
  await user.click(within(form).getByRole("button", { name: "Create token" }));
  expect(await screen.findByText("qxj1.secret.pin")).toBeTruthy();
  expect(screen.getByText("quantix-node join --vdc https://vdc.example:8443 --token-file -")).toBeTruthy();
  expect(vdc.createdJoinTokens.map((t) => [t.lifeSeconds, t.uses, t.note])).toEqual([[86400, 12, "rack 7"]]);
  await user.click(screen.getByRole("button", { name: "Done" }));
  expect((await screen.findByText("0 of 12")).closest("tr")?.textContent).toContain("rack 7");
  expect(screen.queryByText("qxj1.secret.pin")).toBeNull();
});

it("revokes only what is usable, after a question", async () => {
  const vdc = signIn(new FakeVdc());
  const expiresAt = timestampFromMs(Date.now() + 3600_000);
  vdc.joinTokens = [
    create(JoinTokenSchema, { id: "a", state: JoinTokenState.USABLE, note: "rack 7", uses: 2, used: 1, expiresAt }),
    create(JoinTokenSchema, { id: "b", state: JoinTokenState.USED, note: "old", uses: 1, used: 1, expiresAt }),
  ];
  const { user } = renderApp(vdc, "/hosts?tab=join-tokens");
  await user.click(await screen.findByRole("button", { name: "Revoke token rack 7" }));
  expect(screen.queryByRole("button", { name: "Revoke token old" })).toBeNull();
  const dialog = await screen.findByRole("dialog", { name: "Revoke join token rack 7?" });
  expect(dialog.textContent).toContain("Hosts that joined by it stay");
  await user.click(within(dialog).getByRole("button", { name: "Revoke token" }));
  expect(await screen.findByText("Revoked")).toBeTruthy();
});

const probed = { phase: Phase.DISCOVERY, state: PhaseState.DONE, probeId: "probe", discovery: { hostname: "machine" } };

async function check(vdc: FakeVdc) {
  const view = renderApp(vdc, "/hosts?new=true");
  const dialog = await screen.findByRole("dialog");
  await view.user.type(within(dialog).getByLabelText("Host address"), "https://192.0.2.1:9443");
  await view.user.type(within(dialog).getByLabelText("Registration token"), "qxh1.a.b");
  await view.user.click(within(dialog).getByRole("button", { name: "Check host" }));
  return { ...view, dialog };
}

it("says that a machine is known, and enrols it again as what it is", async () => {
  const vdc = signIn(new FakeVdc());
  vdc.probe = [{ ...probed, knownHostId: "h", knownHostName: "host-7" }];
  const { user, dialog } = await check(vdc);
  await user.click(await within(dialog).findByRole("button", { name: "Enrol again" }));
  await waitFor(() => expect(vdc.addedHosts.map((a) => [a.name, a.replacesHostId])).toEqual([["host-7", ""]]));
});

it("lets a new machine take the place of a silent host", async () => {
  const vdc = signIn(new FakeVdc());
  vdc.hosts = [create(HostSchema, { id: "h", name: "host-7", phase: HostPhase.DISCONNECTED }), create(HostSchema, { id: "r", name: "host-8", phase: HostPhase.READY })];
  vdc.probe = [probed];
  const { user, dialog } = await check(vdc);
  await user.click(await within(dialog).findByRole("combobox", { name: "Replaces" }));
  expect((await screen.findByRole("option", { name: /host-8/ })).getAttribute("aria-disabled")).toBe("true");
  await user.click(screen.getByRole("option", { name: /host-7/ }));
  expect(dialog.textContent).toContain("is refused from then on");
  await user.click(within(dialog).getByRole("button", { name: "Replace host-7" }));
  await waitFor(() => expect(vdc.addedHosts.map((a) => [a.name, a.replacesHostId])).toEqual([["host-7", "h"]]));
});
