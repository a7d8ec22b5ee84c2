// The flows that must never break, through the whole app on a fake vDC.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { screen, waitFor, within } from "@testing-library/react";
import { beforeAll, describe, expect, it } from "vitest";
import { FaultCode, FaultDetailSchema } from "./api/gen/quantix/fault/v1/fault_pb";
import { BlockDeviceSchema, DeviceKind, HostPhase, HostSchema, Phase, PhaseState } from "./api/gen/quantix/host/v1/host_pb";
import { ImageFormat, ImagePhase, ImageSchema } from "./api/gen/quantix/image/v1/image_pb";
import { SortBy } from "./api/gen/quantix/list/v1/list_pb";
import { FileKind, FileSchema, NfsVersion, PoolPhase, PoolSchema } from "./api/gen/quantix/pool/v1/pool_pb";
import { TaskSchema, TaskState } from "./api/gen/quantix/task/v1/task_pb";
import { PowerState, PowerVerb, VmPhase, VmSchema } from "./api/gen/quantix/vm/v1/vm_pb";
import { VolumePhase, VolumeSchema } from "./api/gen/quantix/volume/v1/volume_pb";
import { safeNext } from "./router";
import { expectAccessible } from "./testing/accessible";
import { FakeVdc } from "./testing/fake-vdc";
import { renderApp, signIn } from "./testing/render";

const GIB = 1024n ** 3n;
const now = () => timestampFromMs(Date.now());

function host(name: string, phase = HostPhase.READY) {
  return create(HostSchema, { id: `id-${name}`, name, phase, observedAt: now(), vitals: { cpuUsedRatio: 0.25, memoryTotalBytes: 8n * GIB, memoryUsedBytes: 2n * GIB } });
}

function vm(name: string, powerState: PowerState, allowed: string[]) {
  return create(VmSchema, {
    id: `id-${name}`,
    name,
    phase: VmPhase.READY,
    powerState,
    spec: { vcpus: 2, memoryBytes: 2n * GIB },
    allowedActions: ["start", "shut_down", "force_stop", "reset", "reboot", "pause", "resume", "console", "delete"].map((verb) => ({
      verb,
      allowed: allowed.includes(verb),
      reasonIfNot: allowed.includes(verb) ? "" : `No ${verb} now.`,
    })),
  });
}

describe("signing in", () => {
  it("leads a newcomer from the one-time password to the first steps", async () => {
    const vdc = new FakeVdc();
    const { user, container } = renderApp(vdc, "/hosts");
    await user.type(await screen.findByLabelText("User name"), "admin");
    await user.type(screen.getByLabelText("Password"), "wrong{Enter}");
    expect((await screen.findByRole("alert", { name: "Error WRONG_CREDENTIALS" })).textContent).toContain("capital letters count");
    await expectAccessible(container);
    await user.type(screen.getByLabelText("Password"), "one-time{Enter}");

    await screen.findByRole("heading", { name: "Choose your password" });
    await user.type(screen.getByLabelText("One-time password"), "one-time");
    await user.type(screen.getByLabelText("New password"), "short");
    await user.type(screen.getByLabelText("New password again"), "short{Enter}");
    expect(await screen.findByText("Use 12 characters or more.")).toBeTruthy();
    for (const label of ["New password", "New password again"]) {
      await user.clear(screen.getByLabelText(label));
      await user.type(screen.getByLabelText(label), "correct horse battery");
    }
    await user.keyboard("{Enter}");
    expect(await screen.findByRole("list", { name: "First steps" })).toBeTruthy();
    expect(vdc.password).toBe("correct horse battery");
    await expectAccessible(container);
  });

  it("goes back to the sign-in page when the session ends, and returns to the same place", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.hosts = [host("host-1")];
    const { user, history, api } = renderApp(vdc, "/hosts?q=host");
    await screen.findByRole("link", { name: "host-1" });
    vdc.signedIn = false;
    void api.queries.invalidateQueries();
    await user.type(await screen.findByLabelText("User name"), "admin");
    await user.type(screen.getByLabelText("Password"), "one-time{Enter}");
    await screen.findByRole("link", { name: "host-1" });
    expect(history.location.href).toBe("/hosts?q=host");
  });

  it("never leads to another site", () => {
    for (const bad of ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/login?next=/", 7]) expect(safeNext(bad)).toBe("/");
    expect(safeNext("/vms?q=a")).toBe("/vms?q=a");
  });
});

describe("hosts", () => {
  it("shows the phases of a probe, what was found, and adds the host", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.offers = [{ url: "https://127.0.0.1:9443", version: "0.1.0" }];
    vdc.probe = [
      { phase: Phase.PING, state: PhaseState.RUNNING },
      { phase: Phase.PING, state: PhaseState.DONE, elapsedMs: 12n },
      { phase: Phase.TOKEN, state: PhaseState.DONE, elapsedMs: 30n },
      { phase: Phase.DISCOVERY, state: PhaseState.DONE, elapsedMs: 80n, probeId: "probe-1", hostVersion: "0.1.0", discovery: { hostname: "Rack1.example", memoryTotalBytes: 8n * GIB, cpu: { model: "EPYC", sockets: 1, cores: 4, threads: 8 } } },
    ];
    const { user, history } = renderApp(vdc, "/hosts");
    await user.click((await screen.findAllByRole("button", { name: "Add host" }))[0]!);
    const dialog = await screen.findByRole("dialog", { name: "Add host" });
    await waitFor(() => expect(within(dialog).getByLabelText<HTMLInputElement>("Host address").value).toBe("https://127.0.0.1:9443"));
    await user.type(within(dialog).getByLabelText("Registration token"), "qxh1.a.b{Enter}");
    await within(dialog).findByText("done in 80 ms");
    expect(within(dialog).getByText("8 GiB")).toBeTruthy();
    expect(within(dialog).getByLabelText<HTMLInputElement>("Name").value).toBe("rack1");
    await user.click(within(dialog).getByRole("button", { name: "Add host" }));
    await waitFor(() => expect(history.location.pathname).toBe("/hosts/host-0"));
    expect(vdc.hosts[0]?.name).toBe("rack1");
  });

  it("shows which phase failed and why, and lets one check again", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.probe = [
      { phase: Phase.PING, state: PhaseState.DONE, elapsedMs: 5n },
      { phase: Phase.TOKEN, state: PhaseState.FAILED, elapsedMs: 9n, fault: { code: FaultCode.TOKEN_EXPIRED, message: "The token is older than one hour.", remedy: "Make a new one on the host: quantix-node token" } },
    ];
    const { user } = renderApp(vdc, "/hosts?new=true");
    await user.type(await screen.findByLabelText("Host address"), "https://h:9443");
    await user.type(screen.getByLabelText("Registration token"), "qxh1.a.b{Enter}");
    expect((await screen.findByRole("alert", { name: "Error TOKEN_EXPIRED" })).textContent).toContain("quantix-node token");
    expect(screen.getByRole("button", { name: "Check again" })).toBeTruthy();
    expect(screen.queryByRole("button", { name: "Add host", hidden: false })).toBeNull();
  });

  it("says unknown for a silent host instead of its last figures", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.hosts = [host("host-1", HostPhase.DISCONNECTED)];
    renderApp(vdc, "/hosts");
    const row = (await screen.findByRole("link", { name: "host-1" })).closest("tr")!;
    expect(within(row).getByText("Silent")).toBeTruthy();
    expect(within(row).getAllByText("unknown").length).toBeGreaterThan(2);
    expect(within(row).queryByText(/25 %/)).toBeNull();
  });
});

function device(path: string, contents: string[], refusedBecause = "") {
  return create(BlockDeviceSchema, {
    path,
    sizeBytes: 8n * GIB,
    kind: DeviceKind.SSD,
    contents,
    refusedBecause,
    fingerprint: `seen-${path}`,
    allowedActions: [{ verb: "initialise", allowed: refusedBecause === "", reasonIfNot: refusedBecause }],
  });
}

describe("disks", () => {
  // The tab is a chunk of its own; a busy machine takes its time to read it.
  beforeAll(() => import("./pages/host/host-disks"), 60_000);

  it("makes a disk a pool once its name was typed, and leads to the pool", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.hosts = [host("host-1")];
    vdc.devices = [device("/dev/sda", ["GPT partition table with 1 partition"], "The system runs from it: it holds /."), device("/dev/sdb", ["ext4 file system"]), device("/dev/sdc", [])];
    vdc.tasks = [create(TaskSchema, { id: "task", title: "Initialise", state: TaskState.DONE })];
    const { user, container } = renderApp(vdc, "/hosts/id-host-1?tab=disks");
    expect(await screen.findByText("The system runs from it: it holds /.", undefined, { timeout: 15_000 })).toBeTruthy();
    await expectAccessible(container);
    const [first, second] = screen.getAllByRole("button", { name: "Initialise as pool…" });
    await user.click(first!);
    expect(screen.queryByRole("dialog")).toBeNull();
    await user.click(second!);
    const dialog = await screen.findByRole("dialog", { name: "Initialise /dev/sdb of host-1 as pool" });
    expect(within(dialog).getByRole("list", { name: "What is on the disk" }).textContent).toContain("ext4 file system");
    await user.type(within(dialog).getByLabelText("Pool name"), "fast");
    const submit = within(dialog).getByRole<HTMLButtonElement>("button", { name: "Erase and initialise" });
    expect(submit.disabled).toBe(true);
    await user.type(within(dialog).getByLabelText("Type /dev/sdb to confirm"), "/dev/sdb");
    await user.click(submit);
    expect((await screen.findByRole("link", { name: "Open pool fast" })).getAttribute("href")).toBe("/pools/pool-new");
    expect(vdc.initialised.map((r) => [r.hostId, r.device, r.fingerprint, r.erase, r.poolName])).toEqual([["id-host-1", "/dev/sdb", "seen-/dev/sdb", true, "fast"]]);
  });

  it("erases nothing where nothing is, and says why a task failed", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.hosts = [host("host-1")];
    vdc.devices = [device("/dev/sdc", [])];
    vdc.tasks = [create(TaskSchema, { id: "task", title: "Initialise", state: TaskState.FAILED, fault: { code: FaultCode.DEVICE_CHANGED, message: "/dev/sdc is not as it was.", remedy: "Look again." } })];
    const { user } = renderApp(vdc, "/hosts/id-host-1?tab=disks");
    await user.click(await screen.findByRole("button", { name: "Initialise as pool…" }, { timeout: 15_000 }));
    const dialog = await screen.findByRole("dialog");
    await user.type(within(dialog).getByLabelText("Pool name"), "fast{Enter}");
    expect((await screen.findByRole("alert", { name: "Error DEVICE_CHANGED" })).textContent).toContain("is not as it was");
    expect(vdc.initialised[0]?.erase).toBe(false);
  });
});

describe("watching", () => {
  it("moves a row when the vDC says so, without asking again", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.vms = [vm("web-1", PowerState.OFF, ["start"])];
    renderApp(vdc, "/vms");
    const row = (await screen.findByRole("link", { name: "web-1" })).closest("tr")!;
    expect(within(row).getByText("Off")).toBeTruthy();
    await waitFor(() => expect(vdc.watchers).toBe(1));
    vdc.tell({ event: { case: "vm", value: vm("web-1", PowerState.RUNNING, ["shut_down"]) } });
    expect(await screen.findByText("Running")).toBeTruthy();
    vdc.tell({ event: { case: "removed", value: { kind: "vm", id: "id-web-1" } } });
    expect(await screen.findByRole("heading", { name: "No VM yet" })).toBeTruthy();
  });

  it("says what it shows, and reads a list again when something elsewhere changed", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.vms = [vm("web-1", PowerState.OFF, ["start"])];
    renderApp(vdc, "/vms");
    await screen.findByRole("link", { name: "web-1" });
    await waitFor(() => expect(vdc.gaze).toContainEqual(expect.objectContaining({ kind: "vm", ids: ["id-web-1"] })));
    vdc.vms = [...vdc.vms, vm("web-2", PowerState.OFF, ["start"])];
    vdc.tell({ event: { case: "elsewhere", value: { kind: "vm" } } });
    expect(await screen.findByRole("link", { name: "web-2" })).toBeTruthy();
    await waitFor(() => expect(vdc.gaze).toContainEqual(expect.objectContaining({ kind: "vm", ids: ["id-web-1", "id-web-2"] })));
  });

  it("goes on where it was when a broken line is resumed", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.keepsChanges = true;
    vdc.hosts = [host("host-1")];
    renderApp(vdc, "/hosts");
    await screen.findByRole("link", { name: "host-1" });
    await waitFor(() => expect(vdc.watchers).toBe(1));
    vdc.hosts = [host("host-2")];
    vdc.breakLines();
    expect(await screen.findByText(/The line to the vDC is broken/)).toBeTruthy();
    await waitFor(() => expect(screen.queryByText(/The line to the vDC is broken/)).toBeNull(), { timeout: 5000 });
    // Nothing was missed, so nothing is read again.
    expect(screen.getByRole("link", { name: "host-1" })).toBeTruthy();
  });

  it("says why a VM that failed to be made is gone, instead of showing its last state", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.vms = [vm("web-1", PowerState.OFF, ["start"])];
    renderApp(vdc, "/vms/id-web-1");
    await screen.findByRole("heading", { name: "web-1" });
    await waitFor(() => expect(vdc.watchers).toBe(1));
    vdc.vms = [];
    vdc.tasks = [create(TaskSchema, { id: "t", title: "Create VM web-1", state: TaskState.FAILED, objectId: "id-web-1", fault: { code: FaultCode.HYPERVISOR_REFUSED, message: "The hypervisor could not start the VM.", cause: "Permission denied" } })];
    vdc.tell({ event: { case: "removed", value: { kind: "vm", id: "id-web-1" } } });
    expect(await screen.findByRole("heading", { name: 'There is no VM "web-1" any more' })).toBeTruthy();
    expect((await screen.findByRole("alert", { name: "Error HYPERVISOR_REFUSED" })).textContent).toContain("Permission denied");
  });

  it("says that the line is broken, then catches up by reading again", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.hosts = [host("host-1")];
    renderApp(vdc, "/hosts");
    await screen.findByRole("link", { name: "host-1" });
    await waitFor(() => expect(vdc.watchers).toBe(1));
    vdc.hosts = [host("host-2")];
    vdc.breakLines();
    expect(await screen.findByText(/The line to the vDC is broken/)).toBeTruthy();
    expect(await screen.findByRole("link", { name: "host-2" }, { timeout: 5000 })).toBeTruthy();
    expect(screen.queryByText(/The line to the vDC is broken/)).toBeNull();
  });
});

describe("pools", () => {
  it("keeps the form and shows the fault when a name is taken", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.hosts = [host("host-1")];
    vdc.pools = [create(PoolSchema, { id: "p", name: "main", phase: PoolPhase.READY })];
    const { user } = renderApp(vdc, "/pools?new=true");
    const dialog = await screen.findByRole("dialog", { name: "Create pool" });
    await user.type(within(dialog).getByLabelText("Name"), "Main{Enter}");
    expect(await within(dialog).findByText(/Use a-z, 0-9 and -/)).toBeTruthy();
    await user.clear(within(dialog).getByLabelText("Name"));
    await user.type(within(dialog).getByLabelText("Name"), "main");
    const path = within(dialog).getByLabelText<HTMLInputElement>("Path on the host");
    expect(path.value).toBe("/var/lib/quantix/pools/main");
    await user.clear(path);
    await user.type(path, "/srv/q{Enter}");
    expect(await within(dialog).findByRole("alert", { name: "Error NAME_TAKEN" })).toBeTruthy();
    expect(path.value).toBe("/srv/q");
    expect(vdc.pools.length).toBe(1);
  });

  it("asks for what each kind needs, and sends its spec to all chosen hosts", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.hosts = [host("host-1"), host("host-2")];
    const { user, container } = renderApp(vdc, "/pools?new=true");
    const dialog = await screen.findByRole("dialog", { name: "Create pool" });
    await user.type(within(dialog).getByLabelText("Name"), "nfs-a");
    await user.selectOptions(within(dialog).getByLabelText("Kind"), "nfs");
    await user.type(within(dialog).getByLabelText("Server"), "nas{Enter}");
    expect(await within(dialog).findByText("Choose at least one host.")).toBeTruthy();
    expect(within(dialog).getByText("Enter an absolute path, such as /srv/vms.")).toBeTruthy();
    await user.click(within(dialog).getByLabelText("All hosts"));
    await user.type(within(dialog).getByLabelText("Export"), "/srv/vms");
    await expectAccessible(container);
    await user.click(within(dialog).getByRole("button", { name: "Create pool" }));
    await waitFor(() => expect(vdc.createdPools.length).toBe(1));
    const { spec, hostIds } = vdc.createdPools[0]!;
    expect(hostIds).toEqual(["id-host-1", "id-host-2"]);
    expect(spec?.backend.case).toBe("nfs");
    expect(spec?.backend.value).toMatchObject({ server: "nas", export: "/srv/vms", version: NfsVersion.NFS_VERSION_4_1 });
  });

  it("has a host find exports, targets and LUNs, so that nobody types their names", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.hosts = [host("host-1"), host("host-2")];
    const { user, container } = renderApp(vdc, "/pools?new=true");
    const dialog = await screen.findByRole("dialog", { name: "Create pool" });
    const of = within(dialog);
    await user.selectOptions(of.getByLabelText("Kind"), "nfs");
    expect(of.getByText("Choose a host first: it looks.")).toBeTruthy();
    await user.click(of.getByLabelText("All hosts"));
    await user.type(of.getByLabelText("Server"), "nas");
    await user.click(of.getByRole("button", { name: "Find exports" }));
    await user.click(await of.findByRole("button", { name: "/srv/vms (for *)" }));
    expect(of.getByLabelText<HTMLInputElement>("Export").value).toBe("/srv/vms");
    await user.selectOptions(of.getByLabelText("Kind"), "iscsi");
    await user.type(of.getByLabelText("Portal"), "192.0.2.20");
    await user.click(of.getByRole("button", { name: "Find targets" }));
    await user.click(await of.findByRole("button", { name: /iqn.2026-01.org.example:vms/ }));
    expect(of.getByLabelText<HTMLInputElement>("Target").value).toBe("iqn.2026-01.org.example:vms");
    await user.click(of.getByRole("button", { name: "Find LUNs" }));
    await user.click(await of.findByRole("button", { name: /LUN 3: 1 TiB, LIO-ORG vms/ }));
    expect(of.getByLabelText<HTMLInputElement>("LUN").value).toBe("3");
    expect(of.getByLabelText<HTMLInputElement>("Volume group").value).toBe("vms");
    await expectAccessible(container);
  });

  it("says the error on the pool's own row", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.pools = [create(PoolSchema, { id: "p", name: "main", phase: PoolPhase.ERROR, fault: { code: FaultCode.POOL_IO_FAILED, message: "The pool cannot be read.", cause: "Input/output error", host: "host-1" } })];
    const { container } = renderApp(vdc, "/pools");
    const row = (await screen.findByRole("link", { name: "main" })).closest("tr")!;
    expect(row.textContent).toContain("host-1: The pool cannot be read. Input/output error");
    await expectAccessible(container);
  });
});

const line = (verb: string, reasonIfNot = "") => ({ verb, allowed: reasonIfNot === "", reasonIfNot });

describe("files", () => {
  it("offers what the host allows, and says why not the rest", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.pools = [create(PoolSchema, { id: "p", name: "main", phase: PoolPhase.READY, capabilities: { files: true } })];
    const ours = "The pool itself needs it.";
    vdc.files = [
      create(FileSchema, { name: ".quantix-pool", kind: FileKind.REGULAR, allowedActions: [line("download"), line("copy"), line("move", ours), line("delete", ours)] }),
      create(FileSchema, { name: "mine", kind: FileKind.DIRECTORY, allowedActions: [line("move"), line("delete")] }),
    ];
    const { user, container } = renderApp(vdc, "/pools/p?tab=files");
    const mark = (await screen.findByText(".quantix-pool")).closest("tr")!;
    expect(within(mark).getByRole("link", { name: "Download" })).toBeTruthy();
    expect(within(mark).getByRole("button", { name: "Copy" }).getAttribute("aria-disabled")).toBeNull();
    for (const name of ["Move", "Delete"]) {
      expect(within(mark).getByRole("button", { name }).getAttribute("aria-disabled")).toBe("true");
    }
    await user.hover(within(mark).getByRole("button", { name: "Delete" }));
    expect(await screen.findByText(ours)).toBeTruthy();
    const folder = screen.getByRole("button", { name: "Open folder mine" }).closest("tr")!;
    expect(within(folder).queryByRole("button", { name: "Copy" })).toBeNull();
    expect(within(folder).getByRole("button", { name: "Delete" }).getAttribute("aria-disabled")).toBeNull();
    await expectAccessible(container);
  });

  it("lets a pool go by force only when asked to, after saying what is lost", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.pools = [create(PoolSchema, { id: "p", name: "nas", phase: PoolPhase.ERROR, hostStatuses: [{ hostId: "h", host: "host-1" }], allowedActions: [{ verb: "unassign", allowed: true }] })];
    const { user } = renderApp(vdc, "/pools/p?tab=hosts");
    for (const force of [false, true]) {
      await user.click(await screen.findByRole("button", { name: "Unassign" }));
      const dialog = await screen.findByRole("dialog", { name: 'Unassign pool "nas" from host-1?' });
      expect(dialog.textContent).toContain("the server has not yet is lost");
      if (force) await user.click(within(dialog).getByRole("checkbox"));
      await user.click(within(dialog).getByRole("button", { name: "Unassign pool" }));
      await waitFor(() => expect(vdc.unassigned.at(-1)?.force).toBe(force));
      await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    }
  });
});

describe("long lists", () => {
  it("are filtered and ordered by the vDC, as the address says", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.tasks = [create(TaskSchema, { id: "t", title: "Create VM web-1", state: TaskState.DONE, createdAt: now() })];
    const { user, history } = renderApp(vdc, "/tasks?q=web&sort=created");
    await screen.findByText("Create VM web-1");
    await waitFor(() => expect(vdc.askedTasks.some((r) => r.filter === "web" && r.order?.by === SortBy.CREATED && !r.order.descending)).toBe(true));
    await user.click(screen.getByRole("button", { name: /Started/ }));
    await waitFor(() => expect(vdc.askedTasks.some((r) => r.filter === "web" && r.order?.descending)).toBe(true));
    expect(history.location.search).toContain("sort=-created");
  });
});

const disk = (name: string, vmId: string) =>
  create(VolumeSchema, { id: name, name, poolId: "p", pool: "main", vmId, vm: vmId, phase: VolumePhase.READY });

describe("volumes", () => {
  it("grows only, takes snapshots, and says why something cannot be done", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.volumes = [
      create(VolumeSchema, {
        id: "v",
        name: "disk-1",
        poolId: "p",
        pool: "main",
        phase: VolumePhase.READY,
        sizeBytes: 4n * GIB,
        allowedActions: [
          { verb: "grow", allowed: true },
          { verb: "snapshot", allowed: true },
          { verb: "delete", allowed: false, reasonIfNot: "VM web-1 has it." },
        ],
      }),
    ];
    const { user, container } = renderApp(vdc, "/volumes/v");
    await screen.findByRole("heading", { name: "disk-1" });
    expect(screen.getByRole("button", { name: "Delete" }).getAttribute("aria-disabled")).toBe("true");
    await user.click(screen.getByRole("button", { name: "Grow" }));
    const size = await screen.findByLabelText("New size in GiB");
    await user.clear(size);
    await user.type(size, "3");
    expect(await screen.findByText("It has 4 GiB now; a volume never shrinks.")).toBeTruthy();
    await user.clear(size);
    await user.type(size, "6{Enter}");
    await waitFor(() => expect(vdc.grown).toEqual([["v", 6n * GIB]]));
    await user.click(screen.getByRole("tab", { name: "Snapshots" }));
    await screen.findByText("No snapshot yet");
    await user.click(screen.getByRole("button", { name: "Take snapshot" }));
    const name = await screen.findByLabelText("Name");
    await user.clear(name);
    await user.type(name, "before-update{Enter}");
    expect(await screen.findByText("before-update")).toBeTruthy();
    await expectAccessible(container);
  });

  it("shows those that no VM has, and says when there is none", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.volumes = [disk("used", "web-1"), disk("left-behind", "")];
    const { user, container, history } = renderApp(vdc, "/volumes");
    await screen.findByRole("link", { name: "used" });
    await user.click(screen.getByLabelText("Free only"));
    await waitFor(() => expect(screen.queryByRole("link", { name: "used" })).toBeNull());
    expect(screen.getByRole("link", { name: "left-behind" })).toBeTruthy();
    expect(history.location.search).toContain("free=true");
    await expectAccessible(container);
    await user.type(screen.getByLabelText("Filter volumes by name"), "left");
    await waitFor(() => expect(history.location.search).toContain("q=left"));
  });

  it("says so when every volume is in use", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.volumes = [disk("used", "web-1")];
    const { user } = renderApp(vdc, "/volumes?free=true");
    await screen.findByText("Every volume is in use");
    await user.click(screen.getByRole("button", { name: "Show all" }));
    await screen.findByRole("link", { name: "used" });
  });
});

describe("VMs", () => {
  it("offers only what the API allows, with the reason, and asks before pulling the plug", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.vms = [vm("web-1", PowerState.RUNNING, ["force_stop", "shut_down"])];
    const { user, container } = renderApp(vdc, "/vms/id-web-1");
    const start = await screen.findByRole("button", { name: "Start" });
    expect(start.getAttribute("aria-disabled")).toBe("true");
    await user.hover(start);
    expect(await screen.findByText("No start now.")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Force stop" }));
    expect(vdc.powered).toEqual([]);
    const dialog = await screen.findByRole("dialog", { name: 'Force stop VM "web-1"?' });
    expect(dialog.textContent).toContain("pulling the plug");
    await user.click(within(dialog).getByRole("button", { name: "Force stop" }));
    await waitFor(() => expect(vdc.powered.map((p) => p.verb)).toEqual([PowerVerb.FORCE_STOP]));
    await expectAccessible(container);
  });

  it("says what its host could not do for it, and since when, until the host could", async () => {
    const vdc = signIn(new FakeVdc());
    const held = "The VM is off, but its host could not let go of its volumes yet: The LUN does not answer.";
    const off = { ...vm("web-1", PowerState.OFF, ["start"]), observedAt: now() };
    vdc.vms = [{ ...off, hostFault: create(FaultDetailSchema, { code: FaultCode.POOL_IO_FAILED, message: held, remedy: "Look at the target.", host: "host-1" }), hostFaultSince: timestampFromMs(Date.now() - 300_000) }];
    renderApp(vdc, "/vms/id-web-1");
    const panel = await screen.findByRole("alert", { name: "Error POOL_IO_FAILED" });
    expect(panel.textContent).toContain(held);
    expect(panel.textContent).toContain("5 min ago");
    vdc.tell({ event: { case: "vm", value: off } });
    await waitFor(() => expect(screen.queryByRole("alert")).toBeNull());
  });

  it("says why there is no screen", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.vms = [vm("web-1", PowerState.OFF, ["start"])];
    renderApp(vdc, "/vms/id-web-1?tab=console");
    expect(await screen.findByText("No console now.")).toBeTruthy();
  });

  it("starts many at once, and only those that may", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.vms = [vm("a", PowerState.OFF, ["start"]), vm("b", PowerState.RUNNING, ["shut_down"]), vm("c", PowerState.OFF, ["start"])];
    const { user } = renderApp(vdc, "/vms");
    await user.click(await screen.findByRole("checkbox", { name: "Select all" }));
    await user.click(screen.getByRole("button", { name: "Start 2" }));
    await waitFor(() => expect(vdc.powered.map((p) => p.id)).toEqual(["id-a", "id-c"]));
  });

  it("creates a VM from an image, with the refused hosts named", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.pools = [create(PoolSchema, { id: "p", name: "main", phase: PoolPhase.READY })];
    vdc.images = [create(ImageSchema, { id: "img", name: "tiny.qcow2", poolId: "p", pool: "main", phase: ImagePhase.READY, format: ImageFormat.QCOW2, virtualSizeBytes: 3n * GIB }), create(ImageSchema, { id: "iso", name: "debian.iso", pool: "main", phase: ImagePhase.READY, format: ImageFormat.ISO })];
    vdc.placements = [
      { hostId: "h1", host: "host-1", fits: true, reasonIfNot: "" },
      { hostId: "h2", host: "host-2", fits: false, reasonIfNot: "It does not have pool main." },
    ] as never;
    const { user, history } = renderApp(vdc, "/vms?new=true");
    const dialog = await screen.findByRole("dialog", { name: "Create VM" });
    await user.type(within(dialog).getByLabelText("Name"), "web-1");
    await user.click(within(dialog).getByRole("button", { name: "Add disk from image" }));
    await user.click(within(dialog).getByRole("combobox", { name: "Image" }));
    expect((await screen.findByRole("option", { name: /^debian/ })).getAttribute("aria-disabled")).toBe("true");
    await user.click(screen.getByRole("option", { name: /^tiny/ }));
    expect(await within(dialog).findByText("It does not have pool main.")).toBeTruthy();
    await user.click(within(dialog).getByRole("button", { name: "Create VM" }));
    await waitFor(() => expect(vdc.createdVms.length).toBe(1));
    const request = vdc.createdVms[0]!;
    expect(request.disks.map((d) => [d.imageId, d.poolId, d.sizeBytes])).toEqual([["img", "p", 20n * GIB]]);
    expect([request.vcpus, request.memoryBytes, request.start, request.hostId, request.nics.length]).toEqual([2, 2n * GIB, true, "", 1]);
    await waitFor(() => expect(history.location.href).toBe("/vms/vm-0?tab=console"));
  });
});

describe("keyboard", () => {
  it("finds and creates from the palette, and reaches the search with a slash", async () => {
    const vdc = signIn(new FakeVdc());
    vdc.hosts = [host("host-1")];
    const { user, history } = renderApp(vdc, "/hosts");
    await screen.findByRole("link", { name: "host-1" });
    await user.keyboard("/");
    expect(document.activeElement).toBe(screen.getByRole("combobox", { name: "Search" }));
    await user.keyboard("host-1");
    await user.click(await screen.findByRole("option", { name: "host-1" }));
    await waitFor(() => expect(history.location.pathname).toBe("/hosts/id-host-1"));
    await user.keyboard("{Control>}k{/Control}");
    await user.type(await screen.findByRole("combobox", { name: "Command" }), "create vm{Enter}");
    expect(await screen.findByRole("dialog", { name: "Create VM" })).toBeTruthy();
    await user.keyboard("{Escape}");
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(history.location.href).toBe("/vms");
  });

  it("answers an unknown address with the way back", async () => {
    renderApp(signIn(new FakeVdc()), "/nowhere");
    expect(await screen.findByRole("heading", { name: "There is no such page" })).toBeTruthy();
  });
});
