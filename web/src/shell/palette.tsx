// Command palette: go anywhere, create anything, without the mouse.
import { Modal } from "@patternfly/react-core";
import { useMemo, useState } from "react";
import { FindList, stepOf } from "./find-list";
import { useCommands, useObjects, type Find } from "./finder";

export function Palette({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState("");
  const [active, setActive] = useState(0);
  const commands = useCommands();
  const objects = useObjects(text.trim());
  const finds = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    const hits = commands.filter((c) => c.label.toLowerCase().includes(wanted));
    return wanted === "" ? hits : [...hits, ...objects];
  }, [text, commands, objects]);
  const run = (find: Find) => {
    onClose();
    find.run();
  };
  return (
    <Modal isOpen variant="small" position="top" aria-label="Command palette" onClose={onClose} className="q-palette">
      <input
        className="q-palette__input"
        role="combobox"
        aria-label="Command"
        aria-expanded="true"
        aria-controls="q-palette-list"
        aria-activedescendant={`q-palette-list-${active}`}
        placeholder="Go to, create, or find by name"
        autoFocus
        value={text}
        onChange={(e) => {
          setText(e.target.value);
          setActive(0);
        }}
        onKeyDown={(e) => {
          const step = stepOf(e.key, active, finds.length);
          if (step !== undefined) {
            e.preventDefault();
            setActive(step);
          }
          const find = finds[active];
          if (e.key === "Enter" && find) run(find);
        }}
      />
      <FindList id="q-palette-list" finds={finds} active={active} onRun={run} />
    </Modal>
  );
}
