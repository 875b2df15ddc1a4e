// SPDX-License-Identifier: MIT
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "eso/train/durable_file.hpp"
#include "model_flags.hpp"
#include "program.hpp"
#include "report/report.hpp"
#include "run_directory.hpp"

namespace eso_program {

Command add_report(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("report", "rebuilds report.html from the files of a run or a comparison");
  auto directory = std::make_shared<std::string>();
  command->add_option("DIR", *directory, "run directory, or one that compare wrote")->required();
  return [directory] {
    check_given("DIR", *directory);
    const std::filesystem::path path = *directory;
    std::error_code error;
    if (!std::filesystem::is_directory(path, error))
      throw eso::input_error(path.string(), "no such directory");
    RunDirectory::check_file(path /
                             "report.html");  // who planted a link there would have its target replaced
    const bool comparison = std::filesystem::exists(path / "comparison.json", error);
    eso::write_durably(path / "report.html", comparison ? comparison_report(path) : run_report(path));
    say("{}", (path / "report.html").string());
  };
}

}  // namespace eso_program
