// How pools are spoken of.
import { PoolHealth, PoolPhase, type Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { formatBytes } from "../../ui/quantity";
import type { StatusView } from "../../ui/status";

export function poolStatus(pool: Pool): StatusView {
  switch (pool.phase) {
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
  return pool.spec?.backend.case === "local" ? "Local directory" : "Unknown kind";
}

export function backendPlace(pool: Pool): string {
  return pool.spec?.backend.case === "local" ? pool.spec.backend.value.path : "";
}

/** A pool to choose for `verb`; one that cannot take it says why. */
export function poolOption(pool: Pool, verb: "upload_image" | "create_volume") {
  const action = pool.allowedActions.find((a) => a.verb === verb);
  const disabled = action !== undefined && !action.allowed;
  const free = pool.capacity ? `, ${formatBytes(pool.capacity.availableBytes)} free` : "";
  const note = disabled ? action.reasonIfNot : `${poolStatus(pool).label.toLowerCase()}${free}`;
  return { value: pool.id, label: `${pool.name} (${note})`, disabled };
}
