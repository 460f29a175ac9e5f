import type { components, operations } from "./generated";

type Schemas = components["schemas"];

const body: Schemas["PredictRequest"] = { sequence: [[0.1, null]], attention: "full", importance: true, replacement: "baseline", faithfulness: false, probabilities: false, inputs: false };
const request: Schemas["InferRequest"] = {
  inputs: [{ name: "sequence", shape: [1, 1, 2], datatype: "FP32", data: [0.1, null] }],
};
type Answer = operations["predict"]["responses"][200]["content"]["application/json"];
const attention = (answer: Answer): number[] | number[][] | null | undefined => answer.predictions[0]?.attention;
type Inferred = operations["infer_v2"]["responses"][200]["content"]["application/json"];
const data = (answer: Inferred): number[] | null | undefined => answer.outputs[0]?.data;
export { attention, body, data, request };
