// How far a grant or a token reaches: everything, or one host, pool or VM that is searched by name.
import { Link } from "@tanstack/react-router";
import type { Scope } from "../../api/gen/quantix/role/v1/role_pb";
import { HostSelect, PoolSelect, VmSelect } from "../../shell/object-select";
import { SelectField } from "../../ui/field";
import type { Choice } from "../../ui/search-select";

const OBJECTS = {
  host: { label: "Host", help: "The host and the VMs that are on it.", Select: HostSelect, to: "/hosts/$id" },
  pool: { label: "Pool", help: "The pool and what stands on it.", Select: PoolSelect, to: "/pools/$id" },
  vm: { label: "VM", help: "The VM and its volumes.", Select: VmSelect, to: "/vms/$id" },
} as const;
type Kind = keyof typeof OBJECTS;

export interface ScopeChoice {
  kind: "everything" | Kind;
  object?: Choice;
}

export const EVERYTHING: ScopeChoice = { kind: "everything" };

/** As it is sent; undefined while no object is chosen. */
export function scopeOf({ kind, object }: ScopeChoice): { kind: string; id: string } | undefined {
  if (kind === "everything") return { kind, id: "" };
  return object && { kind, id: object.id };
}

export function ScopeField({ value, onChange }: { value: ScopeChoice; onChange: (value: ScopeChoice) => void }) {
  const object = value.kind === "everything" ? undefined : OBJECTS[value.kind];
  return (
    <div className="q-row">
      <SelectField
        label="On what"
        value={value.kind}
        onChange={(kind) => onChange({ kind: kind as ScopeChoice["kind"] })}
        options={[
          { value: "everything", label: "Everything" },
          { value: "host", label: "A host" },
          { value: "pool", label: "A pool" },
          { value: "vm", label: "A VM" },
        ]}
      />
      {object && (
        <object.Select
          key={value.kind}
          label={object.label}
          help={object.help}
          value={value.object}
          onChange={(chosen) => onChange({ kind: value.kind, object: chosen })}
        />
      )}
    </div>
  );
}

/** A scope as shown: everything, the object as a link, or that it is gone. */
export function ScopeView({ scope }: { scope: Scope | undefined }) {
  if (!scope || scope.kind === "everything") return <>everything</>;
  const object = OBJECTS[scope.kind as Kind];
  const noun = object?.label ?? scope.kind;
  if (scope.name === "" || !object) {
    return (
      <span className="q-muted" title={scope.id}>
        a {noun} that is gone
      </span>
    );
  }
  return (
    <>
      <span className="q-muted">{noun}</span>{" "}
      <Link to={object.to} params={{ id: scope.id }}>
        {scope.name}
      </Link>
    </>
  );
}

/** The same as plain words, for sentences. */
export function scopeText(scope: Scope | undefined): string {
  if (!scope || scope.kind === "everything") return "everything";
  const noun = OBJECTS[scope.kind as Kind]?.label ?? scope.kind;
  return scope.name === "" ? `a ${noun} that is gone` : `${noun} "${scope.name}"`;
}
