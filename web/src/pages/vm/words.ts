// How VMs are spoken of.
import { Firmware, PowerState, PowerVerb, VmPhase, type Vm } from "../../api/gen/quantix/vm/v1/vm_pb";
import type { StatusView } from "../../ui/status";

/** The phase while it is being made or unmade, else what its host said of its power. */
export function vmStatus(vm: Vm): StatusView {
  switch (vm.phase) {
    case VmPhase.CREATING:
      return { tone: "work", label: "Creating" };
    case VmPhase.DELETING:
      return { tone: "work", label: "Deleting" };
    case VmPhase.ERROR:
      return { tone: "error", label: "Error" };
    case VmPhase.LOST:
      return { tone: "error", label: "Lost" };
    default:
      return powerStatus(vm.powerState);
  }
}

export function powerStatus(state: PowerState): StatusView {
  switch (state) {
    case PowerState.RUNNING:
      return { tone: "ok", label: "Running" };
    case PowerState.OFF:
      return { tone: "off", label: "Off" };
    case PowerState.PAUSED:
      return { tone: "warn", label: "Paused" };
    case PowerState.SHUTTING_DOWN:
      return { tone: "work", label: "Shutting down" };
    case PowerState.CRASHED:
      return { tone: "error", label: "Crashed" };
    default:
      return { tone: "unknown", label: "Unknown" };
  }
}

export function firmwareName(firmware: Firmware | undefined): string {
  return firmware === Firmware.UEFI ? "UEFI" : firmware === Firmware.BIOS ? "BIOS" : "not set";
}

/** Verbs of the API on buttons. */
export const POWER: { verb: string; power: PowerVerb; label: string }[] = [
  { verb: "start", power: PowerVerb.START, label: "Start" },
  { verb: "shut_down", power: PowerVerb.SHUT_DOWN, label: "Shut down" },
  { verb: "reboot", power: PowerVerb.REBOOT, label: "Reboot" },
  { verb: "pause", power: PowerVerb.PAUSE, label: "Pause" },
  { verb: "resume", power: PowerVerb.RESUME, label: "Resume" },
  { verb: "reset", power: PowerVerb.RESET, label: "Reset" },
  { verb: "force_stop", power: PowerVerb.FORCE_STOP, label: "Force stop" },
];
