// Search over all objects; `/` reaches it from anywhere.
import { useEffect, useRef, useState } from "react";
import { FindList, stepOf } from "./find-list";
import { useObjects, type Find } from "./finder";

export function SearchBox({ onPalette }: { onPalette: () => void }) {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState("");
  const [open, setOpen] = useState(false);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      const typing = target.closest?.("input, textarea, select, [contenteditable], .q-console__screen");
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        input.current?.focus();
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  const close = () => {
    setOpen(false);
    setText("");
    input.current?.blur();
  };
  return (
    <div role="search" className="q-search">
      <input
        ref={input}
        type="search"
        role="combobox"
        aria-label="Search"
        aria-expanded={open && text !== ""}
        aria-controls="q-search-list"
        placeholder="Search hosts, VMs, pools, images"
        value={text}
        onChange={(e) => {
          setText(e.target.value);
          setOpen(true);
        }}
        onFocus={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onKeyDown={(e) => {
          if (e.key === "Escape") close();
        }}
      />
      <kbd aria-hidden="true">/</kbd>
      <button type="button" className="q-search__palette" onClick={onPalette} aria-label="Ctrl K: command palette">
        <kbd>Ctrl K</kbd>
      </button>
      {open && text.trim() !== "" && <Results text={text.trim()} input={input} onDone={close} />}
    </div>
  );
}

function Results({ text, input, onDone }: { text: string; input: React.RefObject<HTMLInputElement | null>; onDone: () => void }) {
  const finds = useObjects(text);
  const [active, setActive] = useState(0);
  useEffect(() => setActive(0), [text]);
  useEffect(() => {
    const element = input.current;
    const onKey = (event: KeyboardEvent) => {
      const step = stepOf(event.key, active, finds.length);
      if (step !== undefined) {
        event.preventDefault();
        setActive(step);
      }
      const find = finds[active];
      if (event.key === "Enter" && find) run(find);
    };
    const run = (find: Find) => {
      find.run();
      onDone();
    };
    element?.addEventListener("keydown", onKey);
    return () => element?.removeEventListener("keydown", onKey);
  }, [input, finds, active, onDone]);
  return (
    <FindList
      id="q-search-list"
      finds={finds}
      active={active}
      onRun={(find) => {
        find.run();
        onDone();
      }}
    />
  );
}
