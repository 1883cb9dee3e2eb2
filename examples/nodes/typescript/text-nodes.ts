// Two nodes in TypeScript. Start the server, then: npm install, npm start.
import { Failure, node, serve } from "@reflux/sdk";

const upper = node(
  {
    name: "text.upper",
    version: "1.0.0",
    description: "Writes text in capitals.",
    effects: "pure",
    inputs: { text: "string", "times?": "integer" },
    outputs: "string",
  },
  ({ text, times }) => text.toUpperCase().repeat(times ?? 1),
);

const count = node(
  {
    name: "text.count",
    version: "1.0.0",
    description: "Counts the words of a text.",
    effects: "pure",
    inputs: { text: "string" },
    outputs: { words: "integer", longest: "string" },
    metrics: ["words"],
  },
  async ({ text }, context) => {
    const words = text.split(/\s+/).filter((word) => word !== "");
    if (words.length === 0) throw Failure.badInput("text is empty");
    context.log(`${words.length} words`);
    context.metric("words", words.length);
    return { words: words.length, longest: words.reduce((a, b) => (b.length > a.length ? b : a)) };
  },
);

await serve([upper, count]);
