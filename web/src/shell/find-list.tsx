// Found things as a list that arrows walk and Enter runs.
import type { Find } from "./finder";

export function FindList({ id, finds, active, onRun }: { id: string; finds: Find[]; active: number; onRun: (find: Find) => void }) {
  return (
    <div className="q-finds" id={id} role="listbox" aria-label="Results">
      {finds.map((find, i) => (
        <div key={find.id} role="presentation">
          {find.group !== finds[i - 1]?.group && (
            <div className="q-finds__group" role="presentation">
              {find.group}
            </div>
          )}
          <div
            id={`${id}-${i}`}
            role="option"
            aria-selected={i === active}
            tabIndex={-1}
            className="q-finds__item"
            ref={i === active ? (el) => el?.scrollIntoView?.({ block: "nearest" }) : undefined}
            onMouseDown={(e) => {
              e.preventDefault();
              onRun(find);
            }}
          >
            {find.label}
          </div>
        </div>
      ))}
      {finds.length === 0 && <div className="q-finds__none">Nothing has this in its name.</div>}
    </div>
  );
}

/** Next active row for a key; undefined when the key is not ours. */
export function stepOf(key: string, active: number, count: number): number | undefined {
  if (count === 0) return undefined;
  if (key === "ArrowDown") return (active + 1) % count;
  if (key === "ArrowUp") return (active - 1 + count) % count;
  return undefined;
}
