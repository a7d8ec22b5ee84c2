// Certificates through the whole app on a fake vDC.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { AuthorityStanding, CertificatesSchema } from "../../api/gen/quantix/certificate/v1/certificate_pb";
import { FaultCode } from "../../api/gen/quantix/fault/v1/fault_pb";
import { HostPhase } from "../../api/gen/quantix/host/v1/host_pb";
import { FakeVdc, refusal } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";
import { expiry } from "./words";
// Fetched here, not while a test waits.
import "./certificates-page";
import "./upload-certificate";

const DAY = 24 * 3600_000;
const inDays = (days: number) => timestampFromMs(Date.now() + days * DAY);

function vdcWith(): FakeVdc {
  const vdc = signIn(new FakeVdc());
  vdc.certificates = create(CertificatesSchema, {
    authorities: [{ fingerprint: "ab".repeat(32), standing: AuthorityStanding.SIGNING, since: inDays(-5), expiresAt: inDays(3645) }],
    vdc: { fingerprint: "cd".repeat(32), names: ["vdc.quantix.internal"], issuer: "Quantix, this vDC", expiresAt: inDays(60.5), renewsAt: inDays(30) },
    hosts: [
      { hostId: "h2", hostName: "host-2", phase: HostPhase.DISCONNECTED, expiresAt: inDays(-2) },
      {
        hostId: "h1",
        hostName: "host-1",
        phase: HostPhase.READY,
        expiresAt: inDays(10.5),
        fault: { code: FaultCode.STORE_UNAVAILABLE, message: "The store is away.", cause: "disk", remedy: "Wait." },
      },
    ],
    hostCount: 2,
    allowedActions: [{ verb: "rotate", allowed: true, reasonIfNot: "" }],
  });
  return vdc;
}

const left = (days: number) => expiry(days * DAY, 0);

it("tells how near an end is by colour and by word", () => {
  expect(left(60)).toEqual({ tone: "ok", label: "60 days left" });
  expect(left(13)).toMatchObject({ tone: "warn", label: "13 days left" });
  expect(left(1)).toMatchObject({ tone: "error", label: "1 d left" });
  expect(left(-2)).toEqual({ tone: "error", label: "Expired 2 d ago" });
  expect(expiry(undefined, 0).tone).toBe("unknown");
});

it("shows who vouches for whom, what ends soon, and why a host could not renew", async () => {
  renderApp(vdcWith(), "/certificates");
  const hosts = await screen.findByRole("table", { name: "Certificates of hosts" });
  expect(within(hosts).getByText(/^Expired 2 d/)).toBeTruthy();
  expect(within(hosts).getByText("10 days left")).toBeTruthy();
  expect(within(hosts).getByRole("alert", { name: "Error STORE_UNAVAILABLE" }).textContent).toContain("The store is away.");
  const own = screen.getByRole("region", { name: "For hosts" });
  expect(own.textContent).toContain("by itself, from");
  expect(screen.getByText(/Upload one that they trust/)).toBeTruthy();
  expect(screen.queryByRole("button", { name: "Remove certificate" })).toBeNull();
});

it("uploads a chain and its key, and says why they are refused", async () => {
  const vdc = vdcWith();
  vdc.uploadRefusal = refusal(Code.InvalidArgument, { code: FaultCode.CERTIFICATE_REFUSED, message: "The key does not belong to the first certificate of the chain.", remedy: "Take the other.", field: "key_pem" });
  const { user } = renderApp(vdc, "/certificates");
  await user.click(await screen.findByRole("button", { name: "Upload certificate" }));
  const dialog = await screen.findByRole("dialog");
  const send = within(dialog).getByRole("button", { name: "Upload certificate" });
  expect((send as HTMLButtonElement).disabled).toBe(true);
  await user.type(within(dialog).getByLabelText("Certificate chain"), "CHAIN");
  await user.upload(within(dialog).getByLabelText("File with the private key"), new File(["KEY"], "key.pem"));
  await waitFor(() => expect((send as HTMLButtonElement).disabled).toBe(false));
  await user.click(send);
  expect((await within(dialog).findByRole("alert", { name: "Error CERTIFICATE_REFUSED" })).textContent).toContain("does not belong");
  vdc.uploadRefusal = undefined;
  await user.click(send);
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  expect(vdc.uploadedCertificates.map((u) => [u.chainPem, u.keyPem])).toEqual([["CHAIN", "KEY"]]);
});

it("rotates after a question that says what follows, and names whom it waits for", async () => {
  const { user } = renderApp(vdcWith(), "/certificates");
  await user.click(await screen.findByRole("button", { name: "Rotate authority" }));
  const dialog = await screen.findByRole("dialog");
  expect(dialog.textContent).toContain("enrolled again with a new token");
  await user.click(within(dialog).getByRole("button", { name: "Rotate authority" }));
  expect((await screen.findByText(/1 connected hosts do not trust/)).textContent).toContain("host-1");
});
