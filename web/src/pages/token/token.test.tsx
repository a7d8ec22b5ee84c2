// API tokens through the whole app on a fake vDC.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { ApiTokenSchema } from "../../api/gen/quantix/token/v1/token_pb";
import { expectAccessible } from "../../testing/accessible";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";
import { endOf, exampleFor } from "./words";

const DAY = 24 * 3600_000;
const at = (days: number) => timestampFromMs(Date.now() + days * DAY + 60_000);

function rig(): FakeVdc {
  const vdc = signIn(new FakeVdc());
  const own = { userId: "user-admin", userName: "admin", scope: { kind: "everything" }, createdAt: at(-40) };
  vdc.rights.apiTokens = [
    create(ApiTokenSchema, { ...own, id: "t1", name: "backup", start: "qx_aaaaaa", permissions: ["vm.view", "volume.manage"], expiresAt: at(9), usedAt: at(-1), usedFrom: "192.0.2.7" }),
    create(ApiTokenSchema, { ...own, id: "t2", name: "metrics", start: "qx_bbbbbb", permissions: ["host.view"], scope: { kind: "host", id: "id-host-1", name: "host-1" } }),
    create(ApiTokenSchema, { id: "t3", name: "script", userId: "user-ben", userName: "ben", start: "qx_cccccc", permissions: ["vm.view"], expiresAt: at(200) }),
  ];
  return vdc;
}

it("shows what each may, where, until when, and when it was used from where", async () => {
  const { container, user, history } = renderApp(rig(), "/tokens");
  const backup = (await screen.findByText("backup")).closest("tr")!;
  expect(within(backup).getByText("qx_aaaaaa…")).toBeTruthy();
  const end = within(backup).getByText("in 9 d");
  expect(end.parentElement?.querySelector("svg")?.getAttribute("data-tone")).toBe("warn");
  expect(backup.textContent).toContain("from 192.0.2.7");
  const metrics = screen.getByText("metrics").closest("tr")!;
  expect(within(metrics).getByRole("link", { name: "host-1" }).getAttribute("href")).toBe("/hosts/id-host-1");
  expect(within(metrics).getAllByText("never")).toHaveLength(2);
  await user.click(screen.getByRole("button", { name: "1 permission of token metrics" }));
  expect(screen.getByText("may see hosts, their disks and their logs")).toBeTruthy();
  await expectAccessible(container);
  expect(screen.queryByText("script")).toBeNull();
  await user.click(screen.getByRole("checkbox", { name: "Of everybody" }));
  expect(within((await screen.findByText("script")).closest("tr")!).getByText("ben")).toBeTruthy();
  expect(history.location.href).toBe("/tokens?everybody=true");
});

it("makes one, shows it once, and lets nobody lose it by a slip", async () => {
  const vdc = rig();
  vdc.rights.permissions = ["vm.view", "vm.power"];
  const { user } = renderApp(vdc, "/tokens");
  await user.click(await screen.findByRole("button", { name: "Create token" }));
  const dialog = await screen.findByRole("dialog", { name: "Create API token" });
  await user.type(within(dialog).getByLabelText("Name"), "ci");
  // Only what one may oneself.
  await within(dialog).findByRole("checkbox", { name: "start, stop and pause VMs" });
  expect(within(dialog).queryByRole("checkbox", { name: "see pools" })).toBeNull();
  await user.click(within(dialog).getByRole("checkbox", { name: "see VMs" }));
  expect(within(dialog).queryByText(/Whoever finds/)).toBeNull();
  await user.selectOptions(within(dialog).getByLabelText("Ends after"), "0");
  expect(within(dialog).getByText(/Whoever finds/)).toBeTruthy();
  await user.selectOptions(within(dialog).getByLabelText("Ends after"), "30");
  await expectAccessible(dialog);
  await user.click(within(dialog).getByRole("button", { name: "Create token" }));

  const made = await screen.findByRole("dialog", { name: 'Token "ci" is made' });
  expect(vdc.rights.askedTokens.map((r) => [r.name, r.permissions, r.scope?.kind, r.days])).toEqual([["ci", ["vm.view"], "everything", 30]]);
  await user.click(within(made).getByRole("button", { name: "Copy token" }));
  expect(await navigator.clipboard.readText()).toBe("qx_abcdefSECRET");
  expect(made.textContent).toContain('curl -H "Authorization: Bearer $QUANTIX_TOKEN"');
  await expectAccessible(made);
  await user.keyboard("{Escape}");
  expect(within(made).queryByRole("button", { name: "Close" })).toBeNull();
  expect(screen.getByText("qx_abcdefSECRET")).toBeTruthy();
  await user.click(within(made).getByRole("button", { name: "I have kept it" }));
  await waitFor(() => expect(screen.queryByText("qx_abcdefSECRET")).toBeNull());
  expect(await screen.findByText("ci")).toBeTruthy();
});

it("offers on everything only what one has on everything", async () => {
  const vdc = rig();
  vdc.rights.permissions = ["host.view"];
  vdc.rights.permissionsSomewhere = ["vm.power"];
  const { user } = renderApp(vdc, "/tokens?new=true");
  const dialog = await screen.findByRole("dialog", { name: "Create API token" });
  const power = () => within(dialog).findByRole<HTMLInputElement>("checkbox", { name: "start, stop and pause VMs" });
  expect((await power()).disabled).toBe(true);
  await user.selectOptions(within(dialog).getByLabelText("On what"), "vm");
  expect((await power()).disabled).toBe(false);
});

it("revokes one once it was asked for, and says what stops", async () => {
  const vdc = rig();
  const { user } = renderApp(vdc, "/tokens");
  await user.click(await screen.findByRole("button", { name: "Revoke backup" }));
  const dialog = await screen.findByRole("dialog", { name: 'Revoke token "backup"?' });
  expect(dialog.textContent).toContain("from 192.0.2.7");
  await user.click(within(dialog).getByRole("button", { name: "Revoke token" }));
  await waitFor(() => expect(screen.queryByText("backup")).toBeNull());
  expect(vdc.rights.apiTokens.map((t) => t.name)).toEqual(["metrics", "script"]);
});

it("says what a token is good for where there is none", async () => {
  const { container } = renderApp(signIn(new FakeVdc()), "/tokens");
  expect(await screen.findByText("You have no token")).toBeTruthy();
  await expectAccessible(container);
});

it("keeps everybody's tokens from those who may not see people", async () => {
  const vdc = rig();
  vdc.rights.permissions = ["vm.view"];
  renderApp(vdc, "/tokens?everybody=true");
  expect(await screen.findByText("backup")).toBeTruthy();
  expect(screen.queryByText("script")).toBeNull();
  expect(screen.queryByRole("checkbox", { name: "Of everybody" })).toBeNull();
});

it("warns two weeks before the end, and says when it was", () => {
  const now = Date.now();
  expect(endOf(now + 14 * DAY, now)).toMatchObject({ tone: "ok", label: "in 14 d" });
  expect(endOf(now + 14 * DAY - 1, now)).toMatchObject({ tone: "warn", label: "in 13 d" });
  expect(endOf(now + 5 * 3600_000, now)).toMatchObject({ tone: "warn", label: "in 5 h" });
  expect(endOf(now - 3 * DAY, now)).toMatchObject({ tone: "error", label: "ended 3 d ago" });
});

it("tries a token with a call that it may make", () => {
  expect(exampleFor(["host.view"], "https://vdc")).toContain("https://vdc/quantix.host.v1.HostService/ListHosts");
  expect(exampleFor(["setting.manage"], "https://vdc")).toContain("SessionService/GetSession");
});
