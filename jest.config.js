/** @type {import("jest").Config} */
export default {
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  modulePathIgnorePatterns: ["<rootDir>/release/"],
  extensionsToTreatAsEsm: [".ts"],
  moduleNameMapper: {
    // A thread loads its file itself, without jest: so the tests run the built one, as it ships.
    "^\\./thread\\.js$": "<rootDir>/dist/src/auth/passwords/thread.js",
    // The scripts of the pages are served as the build has compiled them.
    "^\\./browser-scripts\\.js$": "<rootDir>/dist/src/pages/browser-scripts.js",
    "^(\\.{1,2}/.*)\\.js$": "$1",
  },
  transform: {
    "^.+\\.ts$": [
      "@swc/jest",
      { jsc: { target: "es2022", parser: { syntax: "typescript" } }, module: { type: "es6" } },
    ],
  },
  // Tests wait for states: this only ends one that hangs, however busy the machine is.
  testTimeout: 180_000,
  maxWorkers: "100%",
};
