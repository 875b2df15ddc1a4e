// SPDX-License-Identifier: MIT
#include "model_folder.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>
#include <utility>

#include "eso/text/json_file.hpp"
#include "eso/train/durable_file.hpp"
#include "program.hpp"

namespace eso_program {
namespace fs = std::filesystem;
namespace {

constexpr std::array tokenizer_names{
    "tokenizer.json",          "vocab.json",        "merges.txt",         "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"};

/// A folder beside the destination that is removed with all it holds unless it got the destination's name.
class UnfinishedFolder {
 public:
  explicit UnfinishedFolder(const fs::path& destination)
      : path_(eso::parent_folder(destination) /
              fmt::format(".tmp-{}-{}", ::getpid(), destination.filename().string())) {
    std::error_code none;
    fs::remove_all(path_, none);  // of a killed process that had this number
    if (::mkdir(path_.c_str(), 0777) != 0) throw eso::system_error(path_.string(), "cannot make the folder");
  }
  UnfinishedFolder(const UnfinishedFolder&) = delete;
  UnfinishedFolder& operator=(const UnfinishedFolder&) = delete;
  ~UnfinishedFolder() {
    std::error_code none;
    fs::remove_all(path_, none);
  }

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// The process whose `.tmp-PID-NAME` this is; nothing for any other name.
std::optional<pid_t> owner_of(const std::string& name, const std::string& destination) {
  const std::string prefix = ".tmp-", suffix = "-" + destination;
  if (!name.starts_with(prefix) || !name.ends_with(suffix) || name.size() <= prefix.size() + suffix.size())
    return std::nullopt;
  pid_t owner = 0;
  const char* last = name.data() + name.size() - suffix.size();
  const auto [end, error] = std::from_chars(name.data() + prefix.size(), last, owner);
  if (error != std::errc() || end != last || owner <= 0) return std::nullopt;
  return owner;
}

void remove_leftovers(const fs::path& destination) {
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(eso::parent_folder(destination), error)) {
    const auto owner = owner_of(entry.path().filename().string(), destination.filename().string());
    if (owner && ::kill(*owner, 0) != 0 && errno == ESRCH) leftovers.push_back(entry.path());
  }
  for (const fs::path& leftover : leftovers) fs::remove_all(leftover, error);
}

void copy_durably(const fs::path& from, const fs::path& to) {
  const std::string content = eso::read_file(from);
  eso::DurableFile file(to);
  file.write(std::as_bytes(std::span(content)));
  file.commit();
}

/// The same folder with a name of its own, which "." and "name/" have not.
fs::path named(const fs::path& path) {
  const fs::path normal = fs::absolute(path).lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

}  // namespace

const eso::ByteLevelBpe& ModelFolder::needed_tokenizer() const {
  if (!tokenizer) {
    throw eso::input_error(model.folder().string(), "has no tokenizer", {},
                           "tokenizer.json, or vocab.json and merges.txt");
  }
  return *tokenizer;
}

eso::ByteLevelBpe load_tokenizer(const fs::path& folder) { return eso::ByteLevelBpe::load(folder); }

std::optional<eso::ByteLevelBpe> find_tokenizer(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "vocab.json", "merges.txt"}) {
    if (eso::is_named(folder / name)) return load_tokenizer(folder);
  }
  return std::nullopt;
}

std::vector<fs::path> tokenizer_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const char* name : tokenizer_names) {
    std::error_code none;
    if (fs::is_regular_file(folder / name, none)) files.push_back(folder / name);
  }
  return files;
}

std::vector<fs::path> copied_files(const fs::path& folder) {
  std::vector<fs::path> files = tokenizer_files(folder);
  std::error_code none;
  if (fs::is_regular_file(folder / "generation_config.json", none))
    files.push_back(folder / "generation_config.json");
  return files;
}

bool is_model_file(const fs::path& file) {
  const std::string name = file.filename().string();
  for (const char* end : {"config.json", ".safetensors", ".safetensors.index.json", ".bin", ".gguf"}) {
    if (name.ends_with(end)) return true;
  }
  return std::find(tokenizer_names.begin(), tokenizer_names.end(), name) != tokenizer_names.end();
}

void check_tokenizer(const eso::ByteLevelBpe& tokenizer, const AnyModel& model) {
  if (tokenizer.vocabulary_size() <= model.vocabulary_size()) return;
  throw eso::input_error(model.folder().string(), "the tokenizer has more ids than the embedding has rows",
                         fmt::format("{} ids", tokenizer.vocabulary_size()),
                         fmt::format("at most {}", model.vocabulary_size()));
}

void say_ignored(const AnyModel& model) {
  const std::vector<std::string>& names = model.ignored();
  if (names.empty()) return;
  const bool one = names.size() == 1;
  // Names come from a file: an error's text keeps to one line whatever they hold.
  say("{}", eso::input_error(model.folder().string(),
                             fmt::format("ignoring {} tensor{} that {} not part of the model: {}{}",
                                         names.size(), one ? "" : "s", one ? "is" : "are",
                                         eso::in_quotes(names.front()), one ? "" : ", ..."))
                .what());
}

ModelFolder open_model_folder(const BackendOptions& options, const fs::path& folder,
                              std::shared_ptr<eso::Threads> threads, Use use) {
  ModelFolder opened{load_model(options, folder, std::move(threads), use), find_tokenizer(folder)};
  if (opened.tokenizer) check_tokenizer(*opened.tokenizer, opened.model);
  say_ignored(opened.model);
  return opened;
}

void check_free_folder(const fs::path& path) {
  std::error_code error;
  const fs::path folder = named(path);
  const fs::path parent = eso::parent_folder(folder);
  if (!fs::is_directory(parent, error)) throw eso::input_error(parent.string(), "no such folder");
  const fs::file_status status = fs::symlink_status(folder, error);
  if (status.type() == fs::file_type::not_found) return;
  if (status.type() != fs::file_type::directory)
    throw eso::input_error(path.string(), "is there already and no folder");
  const bool empty = fs::is_empty(folder, error);
  if (error) throw eso::system_error(path.string(), "cannot list", error.value());
  if (!empty) throw eso::input_error(path.string(), "the folder is not empty");
}

namespace {

/// Makes the folder with what `write` puts into it.
template <class Write>
void write_folder(const fs::path& destination, const Write& write) {
  check_free_folder(destination);
  const fs::path folder = named(destination);
  remove_leftovers(folder);
  const UnfinishedFolder unfinished(folder);
  if (!write(unfinished.path())) return;
  eso::sync_directory(unfinished.path());
  if (::rename(unfinished.path().c_str(), folder.c_str()) != 0)
    throw eso::system_error(folder.string(), "cannot rename to");
  eso::sync_directory(eso::parent_folder(folder));
}

}  // namespace

void write_model_folder(const fs::path& destination, const AnyModel& model, std::span<const fs::path> files,
                        std::optional<eso::DataType> store_as) {
  write_folder(destination, [&](const fs::path& folder) {
    model.write(folder, store_as);
    for (const fs::path& file : files) copy_durably(file, folder / file.filename());
    return true;
  });
}

void write_adapter_folder(const fs::path& destination, const AnyModel& model, const std::string& base) {
  std::error_code none;
  if (fs::exists(destination, none)) return;  // of a run that was killed while it wrote the model
  write_folder(destination, [&](const fs::path& folder) { return model.write_adapter(folder, base); });
}

void write_model_folder(const fs::path& destination, const AnyModel& model,
                        const eso::ByteLevelBpe& tokenizer, std::optional<eso::DataType> store_as) {
  write_model_folder(destination, model, copied_files(eso::parent_folder(tokenizer.files().front())),
                     store_as);
}

}  // namespace eso_program
