// Permissions as checkboxes by noun, and as a list that unfolds.
import { Button, Checkbox } from "@patternfly/react-core";
import { useId, useState } from "react";
import type { Permission } from "../../api/gen/quantix/role/v1/role_pb";
import { formatCount } from "../../ui/quantity";
import { groupsOf, type Group, type TextOf } from "./words";

interface PermissionFieldsProps {
  permissions: readonly Permission[];
  chosen: ReadonlySet<string>;
  onChange: (chosen: ReadonlySet<string>) => void;
  /** Why one cannot be chosen; empty when it can. */
  refused?: (word: string) => string;
}

export function PermissionFields(props: PermissionFieldsProps) {
  const { permissions, chosen } = props;
  return (
    <fieldset className="q-part-box">
      <legend>
        May <span className="q-muted">({`${chosen.size} of ${permissions.length} chosen`})</span>
      </legend>
      <div className="q-permissions">
        {groupsOf(permissions).map((group) => (
          <GroupFields key={group.noun} group={group} {...props} />
        ))}
      </div>
    </fieldset>
  );
}

function GroupFields({ group, chosen, onChange, refused }: PermissionFieldsProps & { group: Group }) {
  const id = useId();
  const isRefused = (word: string) => !chosen.has(word) && (refused?.(word) ?? "") !== "";
  const open = group.permissions.map((p) => p.word).filter((word) => !isRefused(word));
  const picked = open.filter((word) => chosen.has(word)).length;
  const verb = picked < open.length ? "All" : "None";
  const set = (words: string[], on: boolean) => {
    const next = new Set(chosen);
    for (const word of words) {
      if (on) next.add(word);
      else next.delete(word);
    }
    onChange(next);
  };
  return (
    <fieldset className="q-permissions__group">
      <legend>
        {group.title}{" "}
        {group.permissions.length > 1 && open.length > 0 && (
          <Button variant="link" isInline size="sm" aria-label={`${verb} of ${group.title}`} onClick={() => set(open, picked < open.length)}>
            {verb}
          </Button>
        )}
      </legend>
      {group.permissions.map(({ word, text }) => (
        <Checkbox
          key={word}
          id={`${id}-${word}`}
          label={text}
          description={chosen.has(word) ? undefined : refused?.(word) || undefined}
          isChecked={chosen.has(word)}
          isDisabled={isRefused(word)}
          onChange={(_, on) => set([word], on)}
        />
      ))}
    </fieldset>
  );
}

/** How many, and on demand which. `of`: whose they are, for those who only hear. */
export function PermissionList({ words, textOf, of }: { words: readonly string[]; textOf: TextOf; of: string }) {
  const [open, setOpen] = useState(false);
  const id = useId();
  return (
    <>
      <Button
        variant="link"
        isInline
        size="sm"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        aria-label={`${formatCount(words.length, "permission")} of ${of}`}
        onClick={() => setOpen(!open)}
      >
        {formatCount(words.length, "permission")}
      </Button>
      {open && (
        <ul id={id} className="q-words" aria-label={`What ${of} may`}>
          {words.map((word) => (
            <li key={word} title={word}>
              may {textOf(word)}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
