// How long a sign-in counts.
import { Button, FormSelect, FormSelectOption, TextInput } from "@patternfly/react-core";
import { useQuery } from "@connectrpc/connect-query";
import { useState } from "react";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { IdentityService, type SignInSettings } from "../../api/gen/quantix/identity/v1/identity_pb";
import { useRight } from "../../api/session";
import { FaultPanel } from "../../ui/fault";
import { Field } from "../../ui/field";
import { Refused } from "../../ui/forbidden";
import { ActionButton, Card, Loading } from "../../ui/parts";
import { useRun } from "../../ui/run";
import { minutesOf, spanOf, spanText, UNIT_NAMES, type Span, type Unit } from "./words";

const IDLE_MIN = 5;
const LIFE_MIN = 15;
const MAX = 43_200;

export function SessionLimits() {
  const query = useQuery(IdentityService.method.getSignInSettings, {});
  return (
    <Card title="How long a sign-in counts">
      {query.data ? (
        <Limits key={String(query.data.generation)} settings={query.data} onSaved={() => void query.refetch()} />
      ) : query.error ? (
        <Refused fault={faultOf(query.error)} onRetry={() => void query.refetch()} />
      ) : (
        <Loading label="session limits" lines={2} />
      )}
    </Card>
  );
}

function outside(minutes: number | undefined, min: number): string | undefined {
  return minutes === undefined || minutes < min || minutes > MAX ? `From ${spanText(min)} to ${spanText(MAX)}, in whole minutes.` : undefined;
}

/** What is wrong with the two, if anything. */
function wrong(idle: number | undefined, life: number | undefined): { idle?: string; life?: string } {
  const [idleWrong, lifeWrong] = [outside(idle, IDLE_MIN), outside(life, LIFE_MIN)];
  if (!idleWrong && !lifeWrong && (idle ?? 0) > (life ?? 0)) return { idle: "Not longer than the session itself." };
  return { idle: idleWrong, life: lifeWrong };
}

function Limits({ settings, onSaved }: { settings: SignInSettings; onSaved: () => void }) {
  const client = useClient(IdentityService);
  const manage = useRight()("people.manage");
  const [idle, setIdle] = useState(() => spanOf(settings.idleMinutes));
  const [life, setLife] = useState(() => spanOf(settings.lifeMinutes));
  const { busy, fault, run } = useRun(onSaved);
  const [idleMinutes, lifeMinutes] = [minutesOf(idle), minutesOf(life)];
  const errors = wrong(idleMinutes, lifeMinutes);
  const isSame = idleMinutes === settings.idleMinutes && lifeMinutes === settings.lifeMinutes;
  const undo = () => {
    setIdle(spanOf(settings.idleMinutes));
    setLife(spanOf(settings.lifeMinutes));
  };
  const save = manage.allowed && isSame ? { ...manage, allowed: false, reasonIfNot: "Nothing is changed." } : manage;
  return (
    <form
      className="q-stack q-limits"
      aria-label="Session limits"
      onSubmit={(event) => {
        event.preventDefault();
        if (save.allowed && !errors.idle && !errors.life) run(() => client.updateSignInSettings({ generation: settings.generation, idleMinutes, lifeMinutes }));
      }}
    >
      <div className="q-row">
        <SpanField label="Ends when it was not used for" value={idle} onChange={setIdle} error={errors.idle} isDisabled={!manage.allowed} />
        <SpanField label="Ends in any case after" value={life} onChange={setLife} error={errors.life} isDisabled={!manage.allowed} />
      </div>
      <p className="q-small">For everybody, from the next use on. Sessions that are there already never last longer than they were begun for. API tokens have an end of their own.</p>
      {fault && <FaultPanel fault={fault} />}
      <div className="q-actions">
        <ActionButton variant="primary" action={save} busy={busy} type="submit">
          Save limits
        </ActionButton>
        {!isSame && (
          <Button variant="link" size="sm" onClick={undo}>
            Undo
          </Button>
        )}
      </div>
    </form>
  );
}

function SpanField({ label, value, onChange, error, isDisabled }: { label: string; value: Span; onChange: (value: Span) => void; error?: string; isDisabled: boolean }) {
  return (
    <Field label={label} error={error}>
      {(ids) => (
        <div className="q-span">
          <TextInput {...ids} type="number" min={1} value={value.amount} isDisabled={isDisabled} onChange={(_, amount) => onChange({ ...value, amount })} />
          <FormSelect aria-label={`Unit of: ${label.toLowerCase()}`} value={value.unit} isDisabled={isDisabled} onChange={(_, unit) => onChange({ ...value, unit: unit as Unit })}>
            {UNIT_NAMES.map((unit) => (
              <FormSelectOption key={unit} value={unit} label={unit} />
            ))}
          </FormSelect>
        </div>
      )}
    </Field>
  );
}
