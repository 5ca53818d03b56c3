import tseslint from "typescript-eslint";

export default tseslint.config(
  {
    ignores: ["test/vectors/", "test/presets/", "**/dist/", "gen/", "**/node_modules/", ".cache/"],
  },
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ["*.js"] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      "@typescript-eslint/return-await": ["error", "in-try-catch"],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "no-console": "error",
    },
  },
  {
    files: ["src/pages/browser/**"],
    languageOptions: { parserOptions: { projectService: false, project: "tsconfig.browser.json" } },
  },
  { files: ["*.js", "{bench,docs,test}/**/*.js"], extends: [tseslint.configs.disableTypeChecked] },
  { files: ["bench/**"], rules: { "no-console": "off" } },
);
