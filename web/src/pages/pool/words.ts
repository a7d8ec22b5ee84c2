// How pools are spoken of.
import { PoolHealth, PoolPhase, type Capabilities, type Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { formatBytes } from "../../ui/quantity";
import type { StatusView } from "../../ui/status";

export const poolStatus = (pool: Pool): StatusView => poolPhase(pool.phase);

export function poolPhase(phase: PoolPhase): StatusView {
  switch (phase) {
    case PoolPhase.READY:
      return { tone: "ok", label: "Ready" };
    case PoolPhase.PENDING:
      return { tone: "work", label: "Pending" };
    case PoolPhase.DEGRADED:
      return { tone: "warn", label: "Degraded" };
    case PoolPhase.ERROR:
      return { tone: "error", label: "Error" };
    case PoolPhase.DELETING:
      return { tone: "work", label: "Deleting" };
    default:
      return { tone: "unknown", label: "Unknown" };
  }
}

export function poolHealth(health: PoolHealth): StatusView {
  switch (health) {
    case PoolHealth.HEALTHY:
      return { tone: "ok", label: "Healthy" };
    case PoolHealth.DEGRADED:
      return { tone: "warn", label: "Degraded" };
    case PoolHealth.ERROR:
      return { tone: "error", label: "Error" };
    case PoolHealth.UNMOUNTED:
      return { tone: "off", label: "Not there" };
    default:
      return { tone: "unknown", label: "Unknown" };
  }
}

export function backendName(pool: Pool): string {
  switch (pool.spec?.backend.case) {
    case "local":
      return pool.spec.backend.value.fileSystemUuid ? "Local disk" : "Local directory";
    case "nfs":
      return "NFS";
    case "ceph":
      return "Ceph RBD";
    case "iscsi":
      return "iSCSI";
    default:
      return "Unknown kind";
  }
}

/** Where a pool's bytes are, in the words of its kind. */
export function backendPlace(pool: Pool): string {
  const backend = pool.spec?.backend;
  switch (backend?.case) {
    case "local":
      return backend.value.path;
    case "nfs": {
      const { server } = backend.value;
      return `${server.includes(":") ? `[${server}]` : server}:${backend.value.export}`;
    }
    case "ceph":
      return `${backend.value.pool} on ${backend.value.monitors.join(", ")}`;
    case "iscsi":
      return `${backend.value.target} LUN ${backend.value.lun} at ${backend.value.portal}`;
    default:
      return "";
  }
}

const NFS_VERSION = { 0: "", 1: "3", 2: "4.0", 3: "4.1", 4: "4.2" } as const;

/** What was asked for, beyond the place. */
export function backendFacts(pool: Pool): [string, string][] {
  const backend = pool.spec?.backend;
  switch (backend?.case) {
    case "nfs":
      return [
        ["NFS version asked for", NFS_VERSION[backend.value.version] ?? ""],
        ["Mount options", backend.value.options || "ours"],
      ];
    case "ceph":
      return [["CephX user", `client.${backend.value.user}`]];
    case "iscsi":
      return [
        ["Volume group", backend.value.volumeGroup],
        ["CHAP", backend.value.chap ? `as ${backend.value.chap.user}${backend.value.mutualChap ? ", both ways" : ""}` : "none"],
      ];
    default:
      return [];
  }
}

/** What hosts say the pool can do. */
export function abilities(can: Capabilities): string {
  const list = [
    can.files && "files",
    can.images && "images",
    can.snapshots && (can.snapshotsRunning ? "snapshots, also of running VMs" : "snapshots"),
    can.clones && (can.flatten ? "linked clones, to be made independent later" : "linked clones"),
    can.grow && (can.growRunning ? "growing, also under running VMs" : "growing"),
    can.thick && "reserved space",
    can.reflink && "reflink copies",
  ].filter(Boolean);
  return list.join(", ") || "volumes only";
}

/** Why a pool cannot be chosen for `verb`. */
export function unlessPool(verb: "upload_image" | "create_volume") {
  return (pool: Pool): string | undefined => {
    const action = pool.allowedActions.find((a) => a.verb === verb);
    return action !== undefined && !action.allowed ? action.reasonIfNot : undefined;
  };
}

/** How a pool is, beside its name. */
export function poolNote(pool: Pool): string {
  const free = pool.capacity ? `, ${formatBytes(pool.capacity.availableBytes)} free` : "";
  return `${poolStatus(pool).label.toLowerCase()}${free}`;
}
