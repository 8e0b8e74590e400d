// Scores texts with transformers.js, from local files alone.
//
//     node score.mjs FOLDER DTYPE cpu|wasm < texts.json > scores.json
//
// texts.json is a list of strings; scores.json one list a text, the probability of each label. With `cpu` the pipeline of
// transformers.js runs the graph, all texts in one padded batch; with `wasm` its tokenizer and onnxruntime-web do, as in a
// browser: in Node the pipeline knows native onnxruntime only.

import { readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { AutoTokenizer, env, pipeline } from "@huggingface/transformers";

const FILES = { fp32: "model.onnx", q8: "model_quantized.onnx" };

const [folder, dtype, where] = process.argv.slice(2);
const texts = JSON.parse(readFileSync(0, "utf8"));
const name = basename(resolve(folder));
env.localModelPath = dirname(resolve(folder));
env.allowRemoteModels = false;

const scores = where === "wasm" ? await onWasm() : await byPipeline();
console.log(JSON.stringify(scores));

async function byPipeline() {
  const classify = await pipeline("text-classification", name, { dtype, device: "cpu", local_files_only: true });
  const { id2label } = classify.model.config;
  const found = await classify(texts, { top_k: null });
  return found.map((labels) => {
    const byLabel = Object.fromEntries(labels.map(({ label, score }) => [label, score]));
    return Object.keys(id2label).map((i) => byLabel[id2label[i]]);
  });
}

async function onWasm() {
  const ort = await import("onnxruntime-web");
  ort.env.wasm.numThreads = 1;
  const tokenizer = await AutoTokenizer.from_pretrained(name, { local_files_only: true });
  const session = await ort.InferenceSession.create(readFileSync(join(folder, "onnx", FILES[dtype])), {
    executionProviders: ["wasm"],
  });
  const encoded = tokenizer(texts, { padding: true, truncation: true });
  const { dims } = encoded.input_ids;
  const feed = {};
  for (const input of session.inputNames) {
    const given = encoded[input]?.data ?? new BigInt64Array(dims[0] * dims[1]);
    feed[input] = new ort.Tensor("int64", BigInt64Array.from(given), dims);
  }
  const { logits } = await session.run(feed);
  const labels = logits.dims[1];
  return texts.map((_, i) => softmax(Array.from(logits.data.slice(i * labels, (i + 1) * labels))));
}

function softmax(values) {
  const peak = Math.max(...values);
  const weights = values.map((value) => Math.exp(value - peak));
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
}
