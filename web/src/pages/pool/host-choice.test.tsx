// Hosts of a new pool, of few and of many.
import { create } from "@bufbuild/protobuf";
import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { HostPhase, HostSchema } from "../../api/gen/quantix/host/v1/host_pb";
import { expectAccessible } from "../../testing/accessible";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";
import "./create-pool";

function fleet(size: number): FakeVdc {
  const vdc = signIn(new FakeVdc());
  vdc.hosts = Array.from({ length: size }, (_, i) => create(HostSchema, { id: `h${i}`, name: `host-${i}`, phase: HostPhase.READY }));
  return vdc;
}

it("searches the one host of a local pool by its name, by keyboard alone", async () => {
  const vdc = fleet(130);
  const { user } = renderApp(vdc, "/pools?new=true");
  const dialog = await screen.findByRole("dialog", { name: "Create pool" });
  await user.type(within(dialog).getByLabelText("Name"), "main");
  within(dialog).getByRole("combobox", { name: "Host" }).focus();
  await user.keyboard("host-129");
  await waitFor(() => expect(within(screen.getByRole("listbox", { name: "Host" })).getAllByRole("option").length).toBe(1));
  await expectAccessible(document.body);
  await user.keyboard("{Enter}");
  await user.click(within(dialog).getByRole("button", { name: "Create pool" }));
  await waitFor(() => expect(vdc.createdPools[0]?.hostIds).toEqual(["h129"]));
});

it("takes some of many hosts, or all of them", async () => {
  const vdc = fleet(130);
  const { user } = renderApp(vdc, "/pools?new=true");
  const dialog = await screen.findByRole("dialog", { name: "Create pool" });
  const of = within(dialog);
  await user.type(of.getByLabelText("Name"), "shared");
  await user.selectOptions(of.getByLabelText("Kind"), "nfs");
  await user.type(of.getByLabelText("Server"), "nas");
  await user.type(of.getByLabelText("Export"), "/srv");
  for (const name of ["host-7", "host-101"]) {
    await user.type(of.getByRole("combobox", { name: "Add a host" }), name);
    const list = await screen.findByRole("listbox", { name: "Add a host" });
    await waitFor(() => expect(within(list).getAllByRole("option").length).toBeLessThan(12));
    await user.click(within(list).getByRole("option", { name: new RegExp(`^${name} `) }));
  }
  expect(within(of.getByRole("list", { name: "Chosen hosts" })).getAllByRole("listitem").map((li) => li.textContent)).toEqual(["host-7Remove", "host-101Remove"]);
  await user.click(of.getByRole("button", { name: "Remove host-7" }));
  await user.click(of.getByRole("button", { name: "Create pool" }));
  await waitFor(() => expect(vdc.createdPools[0]?.hostIds).toEqual(["h101"]));
});

it("takes all of many hosts with one tick", async () => {
  const vdc = fleet(130);
  const { user } = renderApp(vdc, "/pools?new=true");
  const of = within(await screen.findByRole("dialog", { name: "Create pool" }));
  await user.type(of.getByLabelText("Name"), "shared");
  await user.selectOptions(of.getByLabelText("Kind"), "nfs");
  await user.type(of.getByLabelText("Server"), "nas");
  await user.type(of.getByLabelText("Export"), "/srv");
  await user.click(of.getByRole("checkbox", { name: "All 130 hosts" }));
  await waitFor(() => expect(of.queryByRole("combobox", { name: "Add a host" })).toBeNull());
  await user.click(of.getByRole("button", { name: "Create pool" }));
  await waitFor(() => expect(vdc.createdPools[0]?.hostIds.length).toBe(130));
});
