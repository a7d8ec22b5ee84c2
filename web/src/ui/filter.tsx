// Filter of one list; `/` in the page's keys reaches the search above, Esc here empties the field.
import { SearchInput } from "@patternfly/react-core";
import { useEffect, useRef, useState } from "react";

const SETTLE_MS = 200;

export function Filter({ label, value, onChange }: { label: string; value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  const sent = useRef(value);
  useEffect(() => {
    if (value !== sent.current) {
      sent.current = value;
      setText(value);
    }
  }, [value]);
  useEffect(() => {
    if (text === sent.current) return undefined;
    const timer = setTimeout(() => {
      sent.current = text;
      onChange(text);
    }, SETTLE_MS);
    return () => clearTimeout(timer);
  }, [text, onChange]);
  return (
    <div className="q-toolbar__filter">
      <SearchInput
        aria-label={label}
        placeholder={label}
        value={text}
        onChange={(_, v) => setText(v)}
        onClear={() => setText("")}
        onKeyDown={(e) => {
          if (e.key === "Escape") setText("");
        }}
      />
    </div>
  );
}
