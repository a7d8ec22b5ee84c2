// Editing a pool through the whole app on a fake vDC.
import { create } from "@bufbuild/protobuf";
import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { NfsVersion, PoolHealth, PoolPhase, PoolSchema, type Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";
// Fetched here, not while a test waits.
import "./edit-pool";
import "./pool-page";

const SOON = { timeout: 8_000 };
const allowedActions = [{ verb: "update", allowed: true, reasonIfNot: "" }];
const row = (isBehind: boolean) => ({ hostId: "h", host: "host-1", health: PoolHealth.HEALTHY, isBehind });

function vdcWith(pool: Pool): FakeVdc {
  const vdc = signIn(new FakeVdc());
  vdc.pools = [pool];
  return vdc;
}

function nfs() {
  const value = { server: "nas", export: "/srv/vms", version: NfsVersion.NFS_VERSION_4_2, options: "nconnect=2", mountPath: "/mnt/vms" };
  return create(PoolSchema, { id: "p", name: "main", phase: PoolPhase.READY, generation: 4n, allowedActions, hostStatuses: [row(false)], spec: { backend: { case: "nfs", value } } });
}

it("changes how a pool is reached, says what follows, and sends the rest as it was", async () => {
  const vdc = vdcWith(nfs());
  const { user } = renderApp(vdc, "/pools/p");
  await user.click(await screen.findByRole("button", { name: "Edit" }, SOON));
  const dialog = await screen.findByRole("dialog", {}, SOON);
  expect(dialog.textContent).toContain("keeps the old options until it mounts it anew");
  expect(dialog.textContent).toContain("Server, export, version and mount point stay");
  expect(within(dialog).queryByLabelText("Server")).toBeNull();
  const options = within(dialog).getByLabelText(/^Mount options/);
  await user.clear(options);
  await user.type(options, "nconnect=4");
  await user.click(within(dialog).getByRole("button", { name: "Save changes" }));
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull(), SOON);
  const [sent] = vdc.updatedPools;
  expect([sent?.generation, sent?.name]).toEqual([4n, "main"]);
  expect(sent?.spec?.backend.value).toMatchObject({ server: "nas", export: "/srv/vms", version: NfsVersion.NFS_VERSION_4_2, options: "nconnect=4", mountPath: "/mnt/vms" });
});

it("is refused when somebody else changed the pool since", async () => {
  const vdc = vdcWith(nfs());
  const { user } = renderApp(vdc, "/pools/p");
  await user.click(await screen.findByRole("button", { name: "Edit" }, SOON));
  const dialog = await screen.findByRole("dialog", {}, SOON);
  const changed = { ...nfs(), generation: 5n };
  vdc.pools = [changed];
  vdc.tell({ event: { case: "pool", value: changed } });
  await user.click(within(dialog).getByRole("button", { name: "Save changes" }));
  expect((await screen.findByRole("alert", { name: "Error CONFLICT" }, SOON)).textContent).toContain("changed since you looked");
  expect(vdc.updatedPools).toEqual([]);
});

it("leaves a secret as it is when none is given", async () => {
  const value = { monitors: ["192.0.2.1"], pool: "vms", user: "quantix" };
  const vdc = vdcWith(create(PoolSchema, { id: "p", name: "rbd", generation: 1n, allowedActions, spec: { backend: { case: "ceph", value } } }));
  const { user } = renderApp(vdc, "/pools/p");
  await user.click(await screen.findByRole("button", { name: "Edit" }, SOON));
  const dialog = await screen.findByRole("dialog", {}, SOON);
  expect(dialog.textContent).toContain("keep the old key valid until then");
  await user.type(within(dialog).getByLabelText("Monitors"), ", 192.0.2.2");
  await user.click(within(dialog).getByRole("button", { name: "Save changes" }));
  await waitFor(() => expect(vdc.updatedPools.length).toBe(1), SOON);
  expect(vdc.updatedPools[0]?.spec?.backend.value).toMatchObject({ monitors: ["192.0.2.1", "192.0.2.2"], user: "quantix", key: "" });
});

it("shows which host has not yet taken the change", async () => {
  const pool = nfs();
  const vdc = vdcWith({ ...pool, hostStatuses: [create(PoolSchema, { hostStatuses: [row(true)] }).hostStatuses[0]!] });
  renderApp(vdc, "/pools/p?tab=hosts");
  expect(await screen.findByText("has not yet taken the latest change", {}, SOON)).toBeTruthy();
});
