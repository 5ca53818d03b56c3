/**
 * Mutation testing of the domain by its unit tests: `npm run mutants [-- --mutate src/auth/tokens.ts]`.
 * @type {import("@stryker-mutator/api/core").PartialStrykerOptions}
 */
export default {
  testRunner: "jest",
  plugins: [import.meta.resolve("@stryker-mutator/jest-runner")],
  testRunnerNodeArgs: ["--experimental-vm-modules", "--no-warnings"],
  jest: {
    enableFindRelatedTests: true,
    config: { testMatch: ["<rootDir>/test/unit/**/*.test.ts"] },
  },
  coverageAnalysis: "perTest",
  // A mutant of what runs once, when its file is loaded, would need every test of the file.
  ignoreStatic: true,
  mutate: ["src/auth/**/*.ts"],
  ignorePatterns: ["/.cache", "/bench", "/clients", "/release", "/test/mutants"],
  tempDirName: "dist/mutants",
  reporters: ["clear-text", "progress"],
  clearTextReporter: { logTests: false, reportScoreTable: true },
  thresholds: { high: 85, low: 85, break: 85 },
};
