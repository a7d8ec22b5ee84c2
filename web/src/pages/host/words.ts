// How hosts are spoken of.
import { timestampMs, type Timestamp } from "@bufbuild/protobuf/wkt";
import { Accelerator, HostPhase, type Host } from "../../api/gen/quantix/host/v1/host_pb";
import type { StatusView } from "../../ui/status";

export const ms = (t: Timestamp | undefined): number | undefined => (t ? timestampMs(t) : undefined);

export const hostStatus = (host: Host): StatusView => hostPhase(host.phase);

export function hostPhase(phase: HostPhase): StatusView {
  switch (phase) {
    case HostPhase.READY:
      return { tone: "ok", label: "Ready" };
    case HostPhase.PENDING:
      return { tone: "work", label: "Waiting for its first report" };
    case HostPhase.DEGRADED:
      return { tone: "warn", label: "Degraded" };
    case HostPhase.DISCONNECTED:
      return { tone: "unknown", label: "Silent" };
    default:
      return { tone: "unknown", label: "Unknown" };
  }
}

export function isSilent(host: Host): boolean {
  return host.phase === HostPhase.DISCONNECTED;
}

export function acceleratorName(accelerator: Accelerator | undefined): string {
  switch (accelerator) {
    case Accelerator.KVM:
      return "KVM";
    case Accelerator.TCG:
      return "Software emulation (TCG)";
    default:
      return "not known";
  }
}
