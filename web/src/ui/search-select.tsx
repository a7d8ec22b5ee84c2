// A choice from a list too long to show: one types, somebody else finds, arrows walk, Enter takes. The list lies over the
// page at a place of its own, so that no dialog cuts it off and nothing moves while it opens.
import { Button, TextInput } from "@patternfly/react-core";
import CaretDownIcon from "@patternfly/react-icons/dist/esm/icons/caret-down-icon";
import TimesIcon from "@patternfly/react-icons/dist/esm/icons/times-icon";
import { useEffect, useLayoutEffect, useRef, useState, type CSSProperties, type KeyboardEvent } from "react";
import type { FaultView } from "./fault";
import { Field, type FieldProps } from "./field";

export interface Choice {
  id: string;
  name: string;
  /** Tells it from others, or says why it cannot be had. */
  note?: string;
  disabled?: boolean;
}

/** What was found for a text. */
export interface Found {
  /** Undefined until the first answer. */
  rows: readonly Choice[] | undefined;
  /** They are of an earlier text: shown, so that nothing goes from under the pointer, but not taken by Enter. */
  isOld?: boolean;
  /** All that fit, also those that are not in `rows`. */
  total?: number;
  fault?: FaultView;
  again: () => void;
}

/** What is wanted now: nothing, while the list is shut. */
export interface Search {
  text: string;
  isOpen: boolean;
}

export const SHUT: Search = { text: "", isOpen: false };

export interface SelectProps extends Omit<FieldProps, "children"> {
  value: Choice | undefined;
  onChange: (value: Choice | undefined) => void;
  autoFocus?: boolean;
  /** What it means to choose nothing, where one may. */
  empty?: string;
}

interface SearchSelectProps extends SelectProps {
  search: Search;
  onSearch: (search: Search) => void;
  /** What fits `search`. */
  found: Found;
  /** What to say where nothing is, e.g. "There is no pool yet." */
  none: string;
}

const SETTLE_MS = 200;
const ROOM_PX = 248;

export function SearchSelect(props: SearchSelectProps) {
  const { value, onChange, search, onSearch, found, none, autoFocus, empty, ...field } = props;
  const [text, setText] = useState("");
  const [open, setOpen] = useState(false);
  const [walked, setWalked] = useState(0);
  const input = useRef<HTMLInputElement>(null);
  const asked = search.text;
  const rows = found.rows ?? [];
  const active = Math.min(walked, Math.max(0, rows.length - 1));
  useEffect(() => {
    const timer = setTimeout(() => onSearch({ text: text.trim(), isOpen: open }), text === "" ? 0 : SETTLE_MS);
    return () => clearTimeout(timer);
  }, [text, open, onSearch]);
  useEffect(() => setWalked(0), [asked]);
  const close = () => {
    setOpen(false);
    setText("");
    setWalked(0);
  };
  const take = (choice: Choice | undefined) => {
    if (!choice || choice.disabled) return;
    onChange(choice);
    close();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step !== 0) {
      event.preventDefault();
      if (!open) setOpen(true);
      else if (rows.length > 0) setWalked((active + step + rows.length) % rows.length);
    }
    if (!open) return;
    // Enter would submit the form, Escape would close the dialog.
    if (event.key === "Enter") {
      event.preventDefault();
      if (asked === text.trim() && !found.isOld) take(rows[active]);
    }
    if (event.key === "Escape") {
      event.stopPropagation();
      event.nativeEvent.stopImmediatePropagation();
      close();
    }
  };
  return (
    <Field {...field}>
      {(ids) => {
        const list = `${ids.id}-list`;
        return (
          <div
            className="q-select"
            onBlur={(e) => {
              if (!e.currentTarget.contains(e.relatedTarget)) close();
            }}
          >
            <TextInput
              {...ids}
              ref={input}
              role="combobox"
              aria-expanded={open}
              aria-controls={list}
              aria-autocomplete="list"
              aria-activedescendant={open && rows.length > 0 ? `${list}-${active}` : undefined}
              autoComplete="off"
              spellCheck={false}
              autoFocus={autoFocus}
              placeholder={empty && !open ? empty : "Part of the name"}
              value={open || !value ? text : value.name}
              onClick={() => setOpen(true)}
              onChange={(_, typed) => {
                // What stands in the field is what is chosen, or nothing is.
                if (value) onChange(undefined);
                setText(typed);
                setOpen(true);
              }}
              onKeyDown={onKeyDown}
            />
            {!(empty && value && !open) && (
              <span className="q-select__caret" aria-hidden="true">
                <CaretDownIcon />
              </span>
            )}
            {empty && value && !open && (
              <Button
                variant="plain"
                size="sm"
                className="q-select__clear"
                icon={<TimesIcon />}
                aria-label={`${empty} for ${field.label}`}
                onClick={() => {
                  onChange(undefined);
                  input.current?.focus();
                }}
              />
            )}
            {open && <List id={list} label={field.label} input={input} found={found} active={active} asked={asked} none={none} onTake={take} />}
          </div>
        );
      }}
    </Field>
  );
}

interface ListProps {
  id: string;
  label: string;
  input: React.RefObject<HTMLInputElement | null>;
  found: Found;
  active: number;
  asked: string;
  none: string;
  onTake: (choice: Choice) => void;
}

function List({ id, label, input, found, active, asked, none, onTake }: ListProps) {
  const place = usePlace(input);
  const { rows, fault, total } = found;
  const more = rows && total !== undefined && total > rows.length ? total - rows.length : 0;
  return (
    // Pressing in the list leaves the focus, and what was typed, in the field.
    <div className="q-select__list" role="presentation" style={place} onMouseDown={(e) => e.preventDefault()}>
      {fault && (
        <div className="q-select__note" role="alert">
          {fault.message} {fault.remedy}{" "}
          <Button variant="link" isInline size="sm" onClick={found.again}>
            Try again
          </Button>
        </div>
      )}
      {!fault && !rows && (
        <div className="q-select__note" role="status">
          Looking…
        </div>
      )}
      {rows?.length === 0 && (
        <div className="q-select__note" role="status">
          {asked === "" ? none : `Nothing has "${asked}" in its name.`}
        </div>
      )}
      <div id={id} role="listbox" aria-label={label} aria-busy={found.isOld || undefined}>
        {rows?.map((choice, i) => (
          <div
            key={choice.id}
            id={`${id}-${i}`}
            role="option"
            aria-selected={i === active}
            aria-disabled={choice.disabled || undefined}
            className="q-finds__item"
            ref={i === active ? (el) => el?.scrollIntoView?.({ block: "nearest" }) : undefined}
            tabIndex={-1}
            onMouseDown={() => onTake(choice)}
          >
            {choice.name}
            {choice.note && (
              <>
                {" "}
                <span className="q-muted">{choice.note}</span>
              </>
            )}
          </div>
        ))}
      </div>
      {more > 0 && <div className="q-select__note">and {more.toLocaleString("en")} more: type a part of the name.</div>}
    </div>
  );
}

/** Below the field, or above it where there is more room. */
function usePlace(input: React.RefObject<HTMLInputElement | null>): CSSProperties {
  const [place, setPlace] = useState<CSSProperties>({ position: "fixed", visibility: "hidden" });
  useLayoutEffect(() => {
    const look = () => {
      const at = input.current?.getBoundingClientRect();
      if (!at) return;
      const below = window.innerHeight - at.bottom;
      const isAbove = below < ROOM_PX && at.top > below;
      const edge = isAbove ? { bottom: window.innerHeight - at.top + 4 } : { top: at.bottom + 4 };
      setPlace({ position: "fixed", left: at.left, width: at.width, maxHeight: Math.min(ROOM_PX, (isAbove ? at.top : below) - 12), ...edge });
    };
    look();
    window.addEventListener("scroll", look, true);
    window.addEventListener("resize", look);
    return () => {
      window.removeEventListener("scroll", look, true);
      window.removeEventListener("resize", look);
    };
  }, [input]);
  return place;
}
