// A vDC in memory behind the same contract, for tests of the pages only: it never leaves the test runner.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createRouterTransport, type Transport } from "@connectrpc/connect";
import { AlertService, type Alert } from "../api/gen/quantix/alert/v1/alert_pb";
import { CertificatesSchema, CertificateService, type Certificates, type UploadCertificateRequest } from "../api/gen/quantix/certificate/v1/certificate_pb";
import { EventService, type Event } from "../api/gen/quantix/event/v1/event_pb";
import { FaultCode } from "../api/gen/quantix/fault/v1/fault_pb";
import { HostSchema, HostService, type AddHostRequest, type BlockDevice, type Host, type InitialiseDeviceRequest, type ProbeHostResponseSchema } from "../api/gen/quantix/host/v1/host_pb";
import { ImageService, type Image } from "../api/gen/quantix/image/v1/image_pb";
import { JoinTokenSchema, JoinTokenService, JoinTokenState, type CreateJoinTokenRequest, type JoinToken } from "../api/gen/quantix/join_token/v1/join_token_pb";
import { CreatePoolRequestSchema, PoolSchema, PoolService, type CreatePoolRequest, type Pool, type File as PoolFile, type UnassignPoolRequest, type UpdatePoolRequest } from "../api/gen/quantix/pool/v1/pool_pb";
import { LogLevel, type ListLogsRequest, type LogRecord } from "../api/gen/quantix/log/v1/log_pb";
import { SessionService, type ConfirmLoginRequest } from "../api/gen/quantix/session/v1/session_pb";
import { SystemService } from "../api/gen/quantix/system/v1/system_pb";
import { TaskService, type ListTasksRequest, type Task } from "../api/gen/quantix/task/v1/task_pb";
import { CreateVmRequestSchema, VmSchema, VmService, type CreateVmRequest, type Placement, type PowerVmRequest, type Vm } from "../api/gen/quantix/vm/v1/vm_pb";
import { SnapshotSchema, VolumeService, type Snapshot, type Volume } from "../api/gen/quantix/volume/v1/volume_pb";
import { WatchResponseSchema, WatchService, type Sight, type WatchRequest, type WatchResponse } from "../api/gen/quantix/watch/v1/watch_pb";
import { FactorService } from "../api/gen/quantix/factor/v1/factor_pb";
import { UserService } from "../api/gen/quantix/user/v1/user_pb";
import { RoleService } from "../api/gen/quantix/role/v1/role_pb";
import { ApiTokenService } from "../api/gen/quantix/token/v1/token_pb";
import { AuditService } from "../api/gen/quantix/audit/v1/audit_pb";
import { sessionInterceptor } from "../api/transport";
import { IdentityService } from "../api/gen/quantix/identity/v1/identity_pb";
import { FakeIdentity } from "./fake-identity";
import { FakePeople } from "./fake-people";
import { FakeRights } from "./fake-rights";
import { refusal } from "./refusal";

export { refusal };

export class FakeVdc {
  password = "one-time";
  signedIn = false;
  mustChange = true;
  /** A second step is needed to sign in. */
  needsCode = false;
  /** What can be the second step, beside code and recovery code. */
  secondFactor: { passkey?: boolean; totp?: boolean; recoveryCode?: boolean; passkeyReasonIfNot?: string } = {};
  people = new FakePeople();
  hosts: Host[] = [];
  /** Nobody may see hosts. */
  refuseHosts: ConnectError | undefined;
  pools: Pool[] = [];
  images: Image[] = [];
  volumes: Volume[] = [];
  snapshots: Snapshot[] = [];
  grown: [string, bigint][] = [];
  flattened: string[] = [];
  createdPools: CreatePoolRequest[] = [];
  vms: Vm[] = [];
  tasks: Task[] = [];
  askedTasks: ListTasksRequest[] = [];
  cancelled: string[] = [];
  files: PoolFile[] = [];
  unassigned: UnassignPoolRequest[] = [];
  updatedPools: UpdatePoolRequest[] = [];
  devices: BlockDevice[] = [];
  initialised: InitialiseDeviceRequest[] = [];
  /** Newest first. */
  logs: LogRecord[] = [];
  logEpoch = "life-1";
  logsGone = 0n;
  askedLogs: ListLogsRequest[] = [];
  events: Event[] = [];
  alerts: Alert[] = [];
  certificates: Certificates = create(CertificatesSchema);
  uploadedCertificates: UploadCertificateRequest[] = [];
  /** Refuses uploads. */
  uploadRefusal: ConnectError | undefined;
  joinTokens: JoinToken[] = [];
  createdJoinTokens: CreateJoinTokenRequest[] = [];
  addedHosts: AddHostRequest[] = [];
  offers: { url: string; version: string }[] = [];
  placements: Placement[] = [];
  probe: MessageInitShape<typeof ProbeHostResponseSchema>[] = [];
  probeStep: () => Promise<void> = async () => {};
  powered: PowerVmRequest[] = [];
  createdVms: CreateVmRequest[] = [];
  /** Permissions, roles, tokens and the audit log. */
  rights = new FakeRights((answer) => this.#guard(answer));
  /** Providers and directories. */
  identity = new FakeIdentity((answer) => this.#guard(answer));
  watchers = 0;
  epoch = "epoch-1";
  /** What the client said last that it looks at. */
  gaze: Sight[] = [];
  /** Whether a line that broke is resumed where it was. */
  keepsChanges = false;
  #lines = new Set<{ queue: WatchResponse[]; wake: () => void; broken: boolean }>();

  /** Tells every open watch stream. */
  tell(event: MessageInitShape<typeof WatchResponseSchema>): void {
    for (const line of this.#lines) {
      line.queue.push(create(WatchResponseSchema, event));
      line.wake();
    }
  }

  /** Ends every watch stream with an error, as a broken line does. */
  breakLines(): void {
    for (const line of this.#lines) {
      line.broken = true;
      line.wake();
    }
  }

  transport(): Transport {
    return createRouterTransport(
      ({ service }) => {
        service(SessionService, this.#session());
        service(UserService, this.people.user());
        service(FactorService, this.people.factor());
        service(SystemService, { getSummary: () => this.#guard(() => this.#summary()) });
        service(HostService, this.#host());
        service(PoolService, this.#pool());
        service(ImageService, { listImages: (r) => this.#guard(() => ({ images: named(this.images, r.filter), total: BigInt(this.images.length) })) });
        service(VolumeService, this.#volume());
        service(VmService, this.#vm());
        service(TaskService, {
          getTask: (r) => this.#guard(() => found(this.tasks, r.id)),
          cancelTask: (r) =>
            this.#guard(() => {
              this.cancelled.push(r.id);
              return found(this.tasks, r.id);
            }),
          listTasks: (r) =>
            this.#guard(() => {
              this.askedTasks.push(r);
              return { tasks: this.tasks, total: BigInt(this.tasks.length) };
            }),
        });
        service(EventService, { listEvents: (r) => this.#guard(() => this.#events(r)) });
        service(AlertService, {
          listAlerts: (r) => this.#guard(() => this.#alerts(r)),
          acknowledgeAlert: (r) => this.#guard(() => this.#acknowledge(r.id, r.undo)),
        });
        service(CertificateService, this.#certificate());
        service(JoinTokenService, this.#joinToken());
        service(IdentityService, this.identity.service());
        service(RoleService, this.rights.role());
        service(ApiTokenService, this.rights.token());
        service(AuditService, this.rights.auditLog());
        service(WatchService, {
          watch: (r, context) => this.#watch(r, context.signal),
          look: (r) => this.#guard(() => ((this.gaze = r.gaze?.sights ?? []), {})),
        });
      },
      { transport: { interceptors: [sessionInterceptor] } },
    );
  }

  #guard<T>(answer: () => T): T {
    if (!this.signedIn) throw refusal(Code.Unauthenticated, { code: FaultCode.NOT_SIGNED_IN, message: "Nobody is signed in.", remedy: "Sign in." });
    return answer();
  }

  #sessionView() {
    const { permissions, permissionsSomewhere } = this.rights;
    return { userId: "user-admin", userName: "admin", mustChangePassword: this.mustChange, vdcVersion: "0.1.0", hasPassword: true, permissions, permissionsSomewhere };
  }

  #session() {
    return {
      login: (r: { userName: string; password: string }) => {
        if (r.password !== this.password) {
          throw refusal(Code.Unauthenticated, {
            code: FaultCode.WRONG_CREDENTIALS,
            message: "The user name or the password is wrong.",
            remedy: "Check both; capital letters count.",
          });
        }
        if (this.needsCode) return { secondFactor: { challenge: "challenge", totp: true, recoveryCode: true, ...this.secondFactor } };
        this.signedIn = true;
        return { session: this.#sessionView(), token: "" };
      },
      confirmLogin: (r: ConfirmLoginRequest) => {
        const alone = r.proof.case === "passkey" && r.challenge === "";
        if (!alone && r.challenge !== "challenge") throw refusal(Code.Unauthenticated, { code: FaultCode.CHALLENGE_EXPIRED, message: "The time is over.", remedy: "Sign in from the start." });
        if (r.proof.case === "passkey") this.people.checkPasskey(r.proof.value);
        else this.people.checkCode(String(r.proof.value));
        this.signedIn = true;
        return { session: this.#sessionView(), token: "" };
      },
      ...this.people.session(),
      logout: () => {
        this.signedIn = false;
        return {};
      },
      getSession: () => this.#guard(() => this.#sessionView()),
      changePassword: (r: { newPassword: string }) =>
        this.#guard(() => {
          this.password = r.newPassword;
          this.mustChange = false;
          return this.#sessionView();
        }),
    };
  }

  #alerts(r: { filter: string; severity: number; open: boolean; pageSize: number; pageToken: string }) {
    const fits = this.alerts.filter((a) => (!r.open || !a.acknowledgedAt) && a.severity >= r.severity && `${a.message} ${a.objectName}`.toLowerCase().includes(r.filter.toLowerCase()));
    const from = Number(r.pageToken || "0");
    const alerts = fits.toSorted((a, b) => urgency(b) - urgency(a)).slice(from, from + r.pageSize);
    const end = from + alerts.length;
    return { alerts, nextPageToken: end < fits.length ? String(end) : "", total: BigInt(fits.length), lookedAfter: BigInt(this.alerts.filter((a) => a.acknowledgedAt).length) };
  }

  #events(r: { filter: string; objectId: string; severity: number }) {
    const rows = this.events.filter((e) => (!r.objectId || e.objectId === r.objectId) && e.severity >= r.severity && e.message.toLowerCase().includes(r.filter.toLowerCase()));
    return { events: rows, total: BigInt(rows.length) };
  }

  #logs(r: ListLogsRequest) {
    const after = r.epoch === this.logEpoch ? r.after : 0n;
    const fits = this.logs.filter((l) => l.number > after && l.level >= r.level && l.message.includes(r.filter));
    const below = r.pageToken === "" ? fits : fits.filter((l) => l.number < BigInt(r.pageToken));
    const records = below.slice(0, r.pageSize);
    const now = timestampFromMs(Date.now());
    return {
      records,
      nextPageToken: below.length > records.length ? String(records.at(-1)?.number) : "",
      total: BigInt(fits.length),
      epoch: this.logEpoch,
      startedAt: now,
      newest: this.logs[0]?.number ?? 0n,
      gone: this.logsGone,
      keptLevel: LogLevel.INFO,
      observedAt: now,
      host: "host-1",
    };
  }

  #acknowledge(id: string, undo: boolean): Alert {
    const alert = this.alerts.find((a) => a.id === id);
    if (!alert) throw refusal(Code.NotFound, { code: FaultCode.NOT_FOUND, message: "There is no such alert.", remedy: "It is over." });
    const changed = { ...alert, acknowledgedAt: undo ? undefined : timestampFromMs(Date.now()), acknowledgedBy: undo ? "" : "admin" };
    this.alerts = this.alerts.map((a) => (a.id === id ? changed : a));
    this.tell({ event: { case: "alert", value: changed } });
    return changed;
  }

  #seenHosts(): Host[] {
    if (this.refuseHosts) throw this.refuseHosts;
    return this.hosts;
  }

  #summary() {
    return {
      version: "0.1.0",
      hostsTotal: this.hosts.length,
      hostsReady: this.hosts.length,
      poolsTotal: this.pools.length,
      poolsReady: this.pools.length,
      imagesTotal: this.images.length,
      imagesReady: this.images.length,
      vmsTotal: this.vms.length,
      volumesTotal: this.volumes.length,
      hosts: tally(this.hosts.map((h) => h.phase)).map(([phase, count]) => ({ phase, count })),
      pools: tally(this.pools.map((p) => p.phase)).map(([phase, count]) => ({ phase, count })),
      vms: tally(this.vms.map((v) => v.powerState)).map(([powerState, count]) => ({ powerState, count })),
      oldestReportAt: this.hosts[0]?.observedAt,
    };
  }

  #host() {
    const probe = async function* (vdc: FakeVdc) {
      for (const step of vdc.probe) {
        await vdc.probeStep();
        yield step;
      }
    };
    return {
      listHosts: (r: { filter: string }) => this.#guard(() => counted("hosts", named(this.#seenHosts(), r.filter))),
      getHost: (r: { id: string }) => this.#guard(() => found(this.#seenHosts(), r.id)),
      listDevices: () => this.#guard(() => ({ devices: this.devices, host: "host-1", observedAt: timestampFromMs(Date.now()) })),
      listLogs: (r: ListLogsRequest) =>
        this.#guard(() => {
          this.askedLogs.push(r);
          return this.#logs(r);
        }),
      initialiseDevice: (r: InitialiseDeviceRequest) =>
        this.#guard(() => {
          this.initialised.push(r);
          return { taskId: "task", poolId: "pool-new" };
        }),
      listHostOffers: () => this.#guard(() => ({ offers: this.offers })),
      probeHost: () => probe(this),
      addHost: (r: AddHostRequest) =>
        this.#guard(() => {
          this.addedHosts.push(r);
          const host = create(HostSchema, { id: `host-${this.hosts.length}`, name: r.name });
          this.hosts.push(host);
          return host;
        }),
    };
  }

  #certificate() {
    return {
      getCertificates: () => this.#guard(() => this.certificates),
      uploadCertificate: (r: UploadCertificateRequest) =>
        this.#guard(() => {
          if (this.uploadRefusal) throw this.uploadRefusal;
          this.uploadedCertificates.push(r);
          return this.certificates;
        }),
      removeCertificate: () => this.#guard(() => (this.certificates = { ...this.certificates, uploaded: undefined })),
      rotateAuthority: () => this.#guard(() => (this.certificates = { ...this.certificates, signsAt: timestampFromMs(Date.now() + 7 * 24 * 3600_000), hostsBehind: 1, hostsBehindNames: ["host-1"] })),
    };
  }

  #joinToken() {
    return {
      listJoinTokens: () => this.#guard(() => ({ joinTokens: this.joinTokens, total: BigInt(this.joinTokens.length) })),
      createJoinToken: (r: CreateJoinTokenRequest) =>
        this.#guard(() => {
          this.createdJoinTokens.push(r);
          const expiresAt = timestampFromMs(Date.now() + r.lifeSeconds * 1000);
          const joinToken = create(JoinTokenSchema, { id: `token-${this.joinTokens.length}`, state: JoinTokenState.USABLE, note: r.note, createdBy: "admin", uses: r.uses, expiresAt });
          this.joinTokens.push(joinToken);
          return { joinToken, token: "qxj1.secret.pin", vdcUrl: "https://vdc.example:8443" };
        }),
      revokeJoinToken: (r: { id: string }) =>
        this.#guard(() => {
          const revoked = { ...found(this.joinTokens, r.id), state: JoinTokenState.REVOKED };
          this.joinTokens = this.joinTokens.map((t) => (t.id === r.id ? revoked : t));
          return revoked;
        }),
    };
  }

  #pool() {
    return {
      listPools: (r: { filter: string; hostId: string }) =>
        this.#guard(() => {
          const pools = this.pools.filter((p) => r.hostId === "" || p.hostStatuses.some((s) => s.hostId === r.hostId));
          return counted("pools", named(pools, r.filter));
        }),
      getPool: (r: { id: string }) => this.#guard(() => found(this.pools, r.id)),
      listFiles: () => this.#guard(() => ({ files: this.files, total: BigInt(this.files.length), host: "host-1", observedAt: timestampFromMs(Date.now()) })),
      unassignPool: (r: UnassignPoolRequest) =>
        this.#guard(() => {
          this.unassigned.push(r);
          return { pool: found(this.pools, r.poolId), taskId: "" };
        }),
      updatePool: (r: UpdatePoolRequest) =>
        this.#guard(() => {
          const pool = found(this.pools, r.id);
          if (pool.generation !== r.generation) {
            throw refusal(Code.Aborted, { code: FaultCode.CONFLICT, message: `Pool ${pool.name} was changed since you looked at it.`, remedy: "Look at what it is now.", field: "generation" });
          }
          this.updatedPools.push(r);
          return { pool, taskId: "task" };
        }),
      createPool: (r: CreatePoolRequest) =>
        this.#guard(() => {
          this.createdPools.push(create(CreatePoolRequestSchema, r));
          if (this.pools.some((p) => p.name === r.name)) {
            throw refusal(Code.AlreadyExists, { code: FaultCode.NAME_TAKEN, message: `There is a pool "${r.name}" already.`, remedy: "Choose another name.", field: "name" });
          }
          const pool = create(PoolSchema, { id: `pool-${this.pools.length}`, name: r.name });
          this.pools.push(pool);
          return { pool, taskId: "" };
        }),
      listExports: (r: { server: string }) => this.#guard(() => ({ exports: [{ path: "/srv/vms", clients: "*" }], note: `Asked ${r.server}.`, host: "host-1" })),
      discoverTargets: (r: { target: string }) =>
        this.#guard(() => ({
          targets: [{ name: "iqn.2026-01.org.example:vms", portals: ["192.0.2.20:3260"], luns: r.target ? [{ number: 3, sizeBytes: 1024n ** 4n, product: "LIO-ORG vms", content: "LVM volume group vms" }] : [] }],
          host: "host-1",
        })),
      listCephPools: () => this.#guard(() => ({ pools: [{ name: "vms", availableBytes: 1024n ** 4n }], host: "host-1" })),
    };
  }

  #volume() {
    const task = (id: string) => this.#guard(() => ({ volume: found(this.volumes, id), taskId: "task" }));
    return {
      listVolumes: (r: { free: boolean }) =>
        this.#guard(() => {
          const volumes = this.volumes.filter((v) => !r.free || v.vmId === "");
          return { volumes, total: BigInt(volumes.length) };
        }),
      getVolume: (r: { id: string }) => this.#guard(() => found(this.volumes, r.id)),
      growVolume: (r: { id: string; sizeBytes: bigint }) => {
        this.grown.push([r.id, r.sizeBytes]);
        return task(r.id);
      },
      flattenVolume: (r: { id: string }) => {
        this.flattened.push(r.id);
        return task(r.id);
      },
      listSnapshots: () => this.#guard(() => ({ snapshots: this.snapshots, host: "host-1", observedAt: timestampFromMs(Date.now()) })),
      createSnapshot: (r: { volumeId: string; name: string }) => {
        this.snapshots.push(create(SnapshotSchema, { name: r.name, createdAt: timestampFromMs(Date.now()) }));
        return task(r.volumeId);
      },
    };
  }

  #vm() {
    return {
      listVms: (r: { filter: string }) => this.#guard(() => counted("vms", named(this.vms, r.filter))),
      getVm: (r: { id: string }) => this.#guard(() => found(this.vms, r.id)),
      listPlacements: () => this.#guard(() => ({ placements: this.placements, chosenHostId: this.placements.find((p) => p.fits)?.hostId ?? "", chosenReason: "It has the most free memory." })),
      powerVm: (r: PowerVmRequest) =>
        this.#guard(() => {
          this.powered.push(r);
          return { vm: found(this.vms, r.id), taskId: "" };
        }),
      createVm: (r: CreateVmRequest) =>
        this.#guard(() => {
          this.createdVms.push(create(CreateVmRequestSchema, r));
          const vm = create(VmSchema, { id: `vm-${this.vms.length}`, name: r.name });
          this.vms.push(vm);
          return { vm, taskId: "" };
        }),
    };
  }

  async *#watch(request: WatchRequest, stop: AbortSignal): AsyncGenerator<MessageInitShape<typeof WatchResponseSchema>> {
    this.#guard(() => {});
    this.watchers += 1;
    this.gaze = request.gaze?.sights ?? [];
    const resumed = request.epoch === this.epoch && this.keepsChanges;
    const line = { queue: [] as WatchResponse[], wake: () => {}, broken: false };
    this.#lines.add(line);
    stop.addEventListener("abort", () => line.wake());
    try {
      yield { event: { case: "hello", value: { epoch: this.epoch, watchId: "watch-1", resumed, now: timestampFromMs(Date.now()) } } };
      while (!stop.aborted) {
        if (line.broken) throw new ConnectError("line broken", Code.Unavailable);
        const next = line.queue.shift();
        if (next) yield next;
        else await new Promise<void>((resolve) => (line.wake = resolve));
      }
    } finally {
      this.#lines.delete(line);
      this.watchers -= 1;
    }
  }
}

function tally<K>(kinds: K[]): [K, number][] {
  const counts = new Map<K, number>();
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts];
}

/** First what nobody looks after, of that the worst. */
function urgency(a: Alert): number {
  return Number(a.acknowledgedAt === undefined) * 4 + a.severity;
}

/** The whole list as one page. */
function counted<K extends string, T>(field: K, rows: T[]) {
  return { [field]: rows, total: BigInt(rows.length) } as Record<K, T[]> & { total: bigint };
}

function named<T extends { name: string }>(rows: T[], filter: string): T[] {
  return rows.filter((row) => row.name.includes(filter));
}

function found<T extends { id: string }>(rows: T[], id: string): T {
  const row = rows.find((r) => r.id === id);
  if (!row) throw refusal(Code.NotFound, { code: FaultCode.NOT_FOUND, message: "There is no such object.", remedy: "It may have been deleted." });
  return row;
}
