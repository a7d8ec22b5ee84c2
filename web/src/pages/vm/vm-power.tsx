// Power verbs as buttons: what is legal comes from the API, what it costs is said before.
import { useState } from "react";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { PowerVerb, VmService, type Vm } from "../../api/gen/quantix/vm/v1/vm_pb";
import { Confirm } from "../../ui/dialog";
import type { FaultView } from "../../ui/fault";
import { ActionButton, allowedOf } from "../../ui/parts";
import { POWER } from "./words";

const COST: Partial<Record<PowerVerb, string>> = {
  [PowerVerb.FORCE_STOP]: "It is like pulling the plug: what the guest has not written to its disks is lost. Shut down is the gentle way.",
  [PowerVerb.RESET]: "It is like pressing the reset button: what the guest has not written to its disks is lost. Reboot is the gentle way.",
};
const COMMON = new Set([PowerVerb.START, PowerVerb.SHUT_DOWN, PowerVerb.REBOOT, PowerVerb.PAUSE, PowerVerb.RESUME]);

export function PowerButtons({ vm, onFault }: { vm: Vm; onFault: (fault: FaultView | undefined) => void }) {
  const client = useClient(VmService);
  const [asking, setAsking] = useState<PowerVerb>();
  const [busy, setBusy] = useState<PowerVerb>();
  const run = async (verb: PowerVerb) => {
    setBusy(verb);
    setAsking(undefined);
    onFault(undefined);
    try {
      await client.powerVm({ id: vm.id, verb });
    } catch (error) {
      onFault(faultOf(error));
    } finally {
      setBusy(undefined);
    }
  };
  const button = (p: (typeof POWER)[number]) => {
    const action = allowedOf(vm.allowedActions, p.verb);
    const costly = COST[p.power] !== undefined;
    return (
      <ActionButton
        key={p.verb}
        action={action}
        variant={p.power === PowerVerb.START && action.allowed ? "primary" : costly ? "danger" : "secondary"}
        busy={busy === p.power}
        onClick={() => (costly ? setAsking(p.power) : void run(p.power))}
      >
        {p.label}
      </ActionButton>
    );
  };
  const asked = POWER.find((p) => p.power === asking);
  return (
    <>
      {POWER.filter((p) => COMMON.has(p.power) && isShown(vm, p.verb)).map(button)}
      <span className="q-actions__gap" aria-hidden="true" />
      {POWER.filter((p) => !COMMON.has(p.power)).map(button)}
      {asked && asking !== undefined && (
        <Confirm title={`${asked.label} VM "${vm.name}"?`} verb={asked.label} onConfirm={() => void run(asking)} onClose={() => setAsking(undefined)}>
          <p>{COST[asking]}</p>
        </Confirm>
      )}
    </>
  );
}

/** Resume stands only where it can be used; its opposite takes its place otherwise. */
function isShown(vm: Vm, verb: string): boolean {
  const resume = allowedOf(vm.allowedActions, "resume").allowed;
  if (verb === "resume") return resume;
  if (verb === "pause") return !resume;
  return true;
}
