// One verb on many VMs: done where allowed, and said where not.
import { useState } from "react";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { PowerVerb, VmService, type Vm } from "../../api/gen/quantix/vm/v1/vm_pb";
import { Confirm } from "../../ui/dialog";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { ActionButton, allowedOf } from "../../ui/parts";
import { formatCount } from "../../ui/quantity";

const VERBS = [
  { verb: "start", power: PowerVerb.START, label: "Start", ask: false },
  { verb: "shut_down", power: PowerVerb.SHUT_DOWN, label: "Shut down", ask: true },
  { verb: "force_stop", power: PowerVerb.FORCE_STOP, label: "Force stop", ask: true },
] as const;

export function BulkPower({ vms, onDone }: { vms: Vm[]; onDone: () => void }) {
  const client = useClient(VmService);
  const [asking, setAsking] = useState<(typeof VERBS)[number]>();
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const able = (verb: string) => vms.filter((v) => allowedOf(v.allowedActions, verb).allowed);
  const run = async (v: (typeof VERBS)[number]) => {
    setAsking(undefined);
    setBusy(true);
    setFault(undefined);
    const targets = able(v.verb);
    const results = await Promise.allSettled(targets.map((vm) => client.powerVm({ id: vm.id, verb: v.power })));
    const reasons = results.flatMap((r, i) => (r.status === "rejected" ? [{ host: targets[i]?.name ?? "", reason: faultOf(r.reason).message }] : []));
    setBusy(false);
    if (reasons.length === 0) {
      onDone();
      return;
    }
    setFault({
      code: "BULK_PARTLY_FAILED",
      message: `${v.label} was refused for ${formatCount(reasons.length, "VM")} of ${targets.length}.`,
      reasons,
      remedy: "Open the VMs named here to see what each can do now.",
    });
  };
  return (
    <>
      <span role="status">{formatCount(vms.length, "VM")} selected</span>
      {VERBS.map((v) => {
        const n = able(v.verb).length;
        const reason = allowedOf(vms[0]?.allowedActions ?? [], v.verb).reasonIfNot;
        return (
          <ActionButton
            key={v.verb}
            busy={busy}
            variant={v.verb === "force_stop" ? "danger" : "secondary"}
            action={{ verb: v.verb, allowed: n > 0, reasonIfNot: vms.length === 1 ? reason : "None of the selected VMs allows it now." }}
            onClick={() => (v.ask ? setAsking(v) : void run(v))}
          >
            {n > 0 && n < vms.length ? `${v.label} ${n}` : v.label}
          </ActionButton>
        );
      })}
      {fault && <FaultPanel fault={fault} onClose={() => setFault(undefined)} />}
      {asking && (
        <Confirm title={`${asking.label} ${formatCount(able(asking.verb).length, "VM")}?`} verb={asking.label} onConfirm={() => void run(asking)} onClose={() => setAsking(undefined)}>
          <p>
            {able(asking.verb)
              .map((v) => v.name)
              .join(", ")}
            . {asking.verb === "force_stop" ? "What the guests have not written to their disks is lost." : "The guests are asked to shut down and decide for themselves."}
          </p>
        </Confirm>
      )}
    </>
  );
}
