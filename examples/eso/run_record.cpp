// SPDX-License-Identifier: MIT
#include "run_record.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <system_error>
#include <utility>

#include "eso/text/json_file.hpp"
#include "eso/train/checkpoint.hpp"
#include "eso/train/durable_file.hpp"
#include "methods.hpp"
#include "model_folder.hpp"
#include "program.hpp"

namespace eso_program {
namespace {

/// The roles of flags, by the addresses of their values.
class FlagRoles {
 public:
  explicit FlagRoles(const TrainFlags& flags) {
    add_of_methods(flags);
    add_of_backend(flags);
    add_of_data(flags.layout);
    add_of_run(flags);
  }

  FlagRole of(const void* value) const {
    const auto found =
        std::find_if(roles_.begin(), roles_.end(), [&](const auto& entry) { return entry.first == value; });
    eso::require(found != roles_.end(), "FlagRoles::of", "a flag has no role");
    return found->second;
  }

 private:
  template <class... Values>
  void add(FlagRole role, const Values&... values) {
    (roles_.emplace_back(&values, role), ...);
  }

  // A new member is one name too few in these lists, which does not compile: say there what it does.

  void add_of_methods(const MethodFlags& flags) {
    const auto& [eso_lambda, eso_baseline, eso_advantage_norm, eso_token_reduce, eso_sample_reduce,
                 eso_batch_reduce, eso_min_mean_reward, eso_sigma, eso_include_eos, unlike_lambda,
                 unlike_objective, unlike_select, unlike_weight, unlike_threshold, unlike_floor, drl_lambda,
                 drl_gamma, drl_combine, drl_length_norm, rrhf_weight, rrhf_length_exponent, rrhf_best_weight,
                 rrhf_length_mode, rrhf_include_reference, dpo_beta, dpo_label_smoothing, dpo_loss,
                 dpo_reference, dpo_reference_free, slic_margin, slic_weight] = flags;
    add(FlagRole::names_input, dpo_reference);
    add(FlagRole::counts, eso_lambda, eso_baseline, eso_advantage_norm, eso_token_reduce, eso_sample_reduce,
        eso_batch_reduce, eso_min_mean_reward, eso_sigma, eso_include_eos);
    add(FlagRole::counts, unlike_lambda, unlike_objective, unlike_select, unlike_weight, unlike_threshold,
        unlike_floor);
    add(FlagRole::counts, drl_lambda, drl_gamma, drl_combine, drl_length_norm);
    add(FlagRole::counts, rrhf_weight, rrhf_length_exponent, rrhf_best_weight, rrhf_length_mode,
        rrhf_include_reference);
    add(FlagRole::counts, dpo_beta, dpo_label_smoothing, dpo_loss, dpo_reference_free);
    add(FlagRole::counts, slic_margin, slic_weight);
  }

  void add_of_backend(const BackendOptions& options) {
    const auto& [backend, precision, device, checkpoint_activations, shard_optimizer, lora_rank, lora_alpha,
                 lora_dropout, lora_targets] = options;
    // The last two: with each, sums may be taken in another order.
    add(FlagRole::counts, backend, precision, device, lora_rank, lora_alpha, lora_dropout, lora_targets,
        checkpoint_activations, shard_optimizer);
  }

  void add_of_data(const DataFlags& flags) {
    const auto& [answers, xsum_template, hh_split, test_split, bad_rows] = flags;
    add(FlagRole::names_input, answers);
    add(FlagRole::counts, xsum_template, hh_split, test_split, bad_rows);
  }

  void add_of_run(const RunFlags& flags) {
    const auto& [model, format, method, output, preset, data, layout, epochs, active_epochs, learning_rate,
                 schedule, min_learning_rate, min_learning_rate_ratio, warmup_steps, weight_decay,
                 weight_decay_mode, max_prompt_tokens, max_response_tokens, prompt_overflow, temperatures,
                 batch_size, micro_batch_size, clip_norm, optimizer, adam_beta1, adam_beta2, adam_epsilon,
                 seed, no_shuffle, no_eos, max_steps, save_every, keep_checkpoints, log_every,
                 log_completions, print_every, threads, dropout, reward, window_tokens, sft_reduction] =
        flags;
    static_cast<void>(layout);  // above
    add(FlagRole::names_input, model, data);
    add(FlagRole::counts, format, method, epochs, active_epochs, learning_rate, schedule, min_learning_rate,
        min_learning_rate_ratio, warmup_steps, weight_decay, weight_decay_mode, max_prompt_tokens,
        max_response_tokens, prompt_overflow, temperatures, batch_size, micro_batch_size, clip_norm,
        optimizer, adam_beta1, adam_beta2, adam_epsilon, seed, no_shuffle, no_eos, max_steps, log_every,
        log_completions, dropout, reward, window_tokens, sft_reduction);
    add(FlagRole::counts, threads);  // which decide how sums are split
    add(FlagRole::free, output, preset, save_every, keep_checkpoints, print_every);
  }

  std::vector<std::pair<const void*, FlagRole>> roles_;
};

/// The CRC-32 of a file, in parts that the threads share; read, not mapped: it may be cut meanwhile.
std::string file_checksum(const std::filesystem::path& path, eso::Threads& threads) {
  constexpr std::uint64_t part = std::uint64_t{16} << 20;
  const eso::FileDescriptor file(path, O_RDONLY | O_NONBLOCK);
  const std::uint64_t size = file.size();
  std::vector<uLong> parts(static_cast<std::size_t>((size + part - 1) / part));
  const auto end_of = [&](std::size_t i) { return std::min(size, (std::uint64_t{i} + 1) * part); };
  threads.for_each(static_cast<eso::Index>(parts.size()), [&](eso::Index index) {
    const auto i = static_cast<std::size_t>(index);
    std::vector<Bytef> block(std::size_t{1} << 18);
    for (std::uint64_t at = i * part; at < end_of(i);) {
      const ssize_t read =
          ::pread(file.number(), block.data(),
                  static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), end_of(i) - at)),
                  static_cast<off_t>(at));
      if (read < 0 && errno == EINTR) continue;
      if (read < 0) throw eso::system_error(path.string(), "cannot read");
      if (read == 0) throw eso::system_error(path.string(), "cannot read", EIO);  // it was cut
      parts[i] = ::crc32_z(parts[i], block.data(), static_cast<std::size_t>(read));
      at += static_cast<std::uint64_t>(read);
    }
  });
  uLong crc = 0;
  for (std::size_t i = 0; i < parts.size(); ++i)
    crc = ::crc32_combine(crc, parts[i], static_cast<z_off_t>(end_of(i) - i * part));
  return fmt::format("{} bytes with checksum {:08x}", size, crc);
}

/// The checksum of what a JSON file says, without what only says where it comes from.
std::string json_checksum(const std::filesystem::path& path) {
  nlohmann::json json = eso::read_json_file(path);
  if (json.is_object()) json.erase("_name_or_path"), json.erase("transformers_version");
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  eso::FileDigest digest;
  digest.add(std::as_bytes(std::span(text)));
  return fmt::format("settings with checksum {:08x}", digest.crc32);
}

/// The files that weights may lie in: those that `eso::WeightFiles` takes.
std::vector<std::filesystem::path> files_of_weights(const std::filesystem::path& folder) {
  if (eso::is_named(folder / "model.safetensors")) return {folder / "model.safetensors"};
  std::vector<std::filesystem::path> files;
  for (const auto& path : eso::entries_of(folder)) {
    const std::string name = path.filename().string();
    if (name == "model.safetensors.index.json" || name.ends_with(".safetensors")) files.push_back(path);
  }
  return files;
}

nlohmann::json folder_record(const std::filesystem::path& folder, bool with_tokenizer,
                             eso::Threads& threads) {
  nlohmann::json record = nlohmann::json::object();
  const auto is_file = [](const std::filesystem::path& path) {
    std::error_code none;  // what is no file is for those who read it to refuse
    return std::filesystem::is_regular_file(path, none);
  };
  for (const char* name : {"config.json", "generation_config.json"})
    if (is_file(folder / name)) record[name] = json_checksum(folder / name);
  std::vector<std::filesystem::path> files = files_of_weights(folder);
  if (with_tokenizer)
    for (const auto& path : tokenizer_files(folder)) files.push_back(path);
  for (const auto& path : files) {
    check_signals();
    if (is_file(path)) record[path.filename().string()] = file_checksum(path, threads);
  }
  return record;
}

std::filesystem::path reference_folder(const TrainFlags& flags) {
  return flags.dpo_reference.empty() ? flags.model : flags.dpo_reference;
}

}  // namespace

std::vector<Setting> settings_of(TrainFlags flags) {
  if (flags.threads == 0) flags.threads = processor_count();  // as config.toml has it
  CLI::App app;
  FlagSet set(app);
  add_train_flags(set, flags);
  const FlagRoles roles(flags);
  std::vector<Setting> settings;
  set.for_each([&](const std::string& name, const void* value, std::string text) {
    settings.push_back({name, std::move(text), roles.of(value)});
  });
  return settings;
}

nlohmann::json settings_record(const TrainFlags& flags) {
  nlohmann::json record = nlohmann::json::object();
  for (const Setting& setting : settings_of(flags))
    if (setting.role == FlagRole::counts) record[setting.name] = setting.value;
  return record;
}

void check_settings(const TrainFlags& flags, const nlohmann::json& recorded,
                    const std::filesystem::path& config) {
  for (const Setting& setting : settings_of(flags)) {
    if (setting.role != FlagRole::counts) continue;
    const auto expected = recorded.find(setting.name);
    if (expected != recorded.end() && *expected == setting.value) continue;
    throw eso::input_error(
        fmt::format("{}: {}", config.string(), setting.name), "is not what the run began with", setting.value,
        expected != recorded.end() && expected->is_string() ? expected->get<std::string>()
                                                            : std::string("a run without this flag"));
  }
}

nlohmann::json files_record(const TrainFlags& flags, eso::Threads& threads) {
  nlohmann::json record{{"model", folder_record(flags.model, true, threads)}};
  if (method_named(flags.method).reference && !flags.dpo_reference_free)
    record["reference"] = folder_record(reference_folder(flags), false, threads);
  return record;
}

void check_files(const TrainFlags& flags, const nlohmann::json& found, const nlohmann::json& recorded) {
  const std::pair<const char*, std::filesystem::path> folders[] = {{"model", flags.model},
                                                                   {"reference", reference_folder(flags)}};
  for (const auto& [part, folder] : folders) {
    const nlohmann::json now = found.value(part, nlohmann::json::object()),
                         then = recorded.value(part, nlohmann::json::object());
    for (const auto& [name, checksum] : then.items()) {
      const std::string where = (folder / name).string();
      if (!now.contains(name)) throw eso::input_error(where, "is missing, and the run began with it");
      if (now[name] != checksum)
        throw eso::input_error(where, "is not what the run began with", now[name].get<std::string>(),
                               checksum.is_string() ? checksum.get<std::string>() : std::string());
    }
    for (const auto& [name, checksum] : now.items())
      if (!then.contains(name))
        throw eso::input_error((folder / name).string(), "was not there when the run began");
  }
}

std::string data_record(const std::vector<eso::Example>& examples) {
  uLong crc = ::crc32(0, nullptr, 0);
  const auto add = [&](const void* bytes, std::size_t size) {
    crc = ::crc32_z(crc, reinterpret_cast<const Bytef*>(&size), sizeof size);
    // zlib takes a null pointer for a new beginning.
    if (size > 0) crc = ::crc32_z(crc, static_cast<const Bytef*>(bytes), size);
  };
  for (const eso::Example& example : examples) {
    add(&example.number, sizeof example.number);
    for (const eso::Tokens* tokens : {&example.prompt, &example.target, &example.rejected})
      add(tokens->data(), tokens->size() * sizeof(eso::TokenId));
    for (const std::string* text : {&example.prompt_text, &example.reference})
      add(text->data(), text->size());
  }
  return fmt::format("{} examples with checksum {:08x}", examples.size(), crc);
}

}  // namespace eso_program
