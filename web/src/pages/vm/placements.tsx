// Which hosts could take the VM as it stands on the form, and why the others could not.
import { skipToken, useQuery } from "@connectrpc/connect-query";
import { useEffect, useMemo, useState } from "react";
import { Controller, useFormContext, useWatch } from "react-hook-form";
import { faultOf } from "../../api/fault";
import { VmService } from "../../api/gen/quantix/vm/v1/vm_pb";
import { FaultPanel } from "../../ui/fault";
import { SelectField } from "../../ui/field";
import { requestOf, vmRule, type VmInput } from "./vm-form";

const SETTLE_MS = 300;
const PLACEHOLDER_NAME = "vm";

export function Placements() {
  const form = useFormContext<VmInput>();
  const values = useWatch({ control: form.control }) as VmInput;
  const [settled, setSettled] = useState(values);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(values), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [values]);
  const request = useMemo(() => {
    const parsed = vmRule.safeParse({ ...settled, name: settled.name || PLACEHOLDER_NAME, hostId: "" });
    return parsed.success ? requestOf(parsed.data) : undefined;
  }, [settled]);
  const query = useQuery(VmService.method.listPlacements, request ? { vm: request } : skipToken, {
    placeholderData: (old) => old,
    retry: false,
    staleTime: 0,
  });
  const places = query.data?.placements ?? [];
  const chosen = places.find((p) => p.hostId === query.data?.chosenHostId);
  const refused = places.filter((p) => !p.fits);
  const picked = places.find((p) => p.hostId === values.hostId);
  const auto = chosen ? `Chosen automatically: ${chosen.host}` : "Chosen automatically";
  return (
    <div className="q-field">
      <Controller
        control={form.control}
        name="hostId"
        render={({ field }) => (
          <SelectField
            label="Host"
            value={field.value}
            onChange={field.onChange}
            help={!picked && chosen ? query.data?.chosenReason : undefined}
            error={picked && !picked.fits ? picked.reasonIfNot : undefined}
            options={[{ value: "", label: auto }, ...places.map((p) => ({ value: p.hostId, label: p.fits ? p.host : `${p.host} (cannot)`, disabled: !p.fits }))]}
          />
        )}
      />
      {query.error && <FaultPanel fault={faultOf(query.error)} onRetry={() => void query.refetch()} />}
      {refused.length > 0 && (
        <ul className="q-list" aria-label="Hosts that cannot take it">
          {refused.map((p) => (
            <li key={p.hostId}>
              <span>{p.host}</span>
              <span className="q-muted">{p.reasonIfNot}</span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
