#include "pywatt/nvml_sensor.hpp"

#include <chrono>
#include <limits>
#include <string_view>
#include <thread>
#include <utility>

#include "pywatt/errors.hpp"
#include "pywatt/nvml_library.hpp"

namespace pywatt {

namespace {

constexpr const char* mig_note = "power of the whole card, not of the MIG instance";

constexpr int open_attempts = 3;
constexpr std::chrono::milliseconds open_pause{5};

/// One way to get a number out of NVML: a field (id and scope), or a function of its own (field 0).
struct Source {
  const char* label;
  unsigned field;
  unsigned scope;
};

constexpr Source power_sources[] = {
    {"POWER_INSTANT", NVML_FI_DEV_POWER_INSTANT, NVML_POWER_SCOPE_GPU},
    {"POWER_AVERAGE", NVML_FI_DEV_POWER_AVERAGE, NVML_POWER_SCOPE_GPU},
    {"nvmlDeviceGetPowerUsage", 0, 0},
};
constexpr Source energy_sources[] = {
    {"TOTAL_ENERGY_CONSUMPTION", NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, 0},
    {"ENERGY", NVML_FI_DEV_ENERGY, NVML_POWER_SCOPE_GPU},
    {"nvmlDeviceGetTotalEnergyConsumption", 0, 0},
};
constexpr Source module_sources[] = {
    {"POWER_INSTANT of the module", NVML_FI_DEV_POWER_INSTANT, NVML_POWER_SCOPE_MODULE},
    {"POWER_AVERAGE of the module", NVML_FI_DEV_POWER_AVERAGE, NVML_POWER_SCOPE_MODULE},
};

/// A number as NVML gives it, in mW or mJ; `value` means something only on NVML_SUCCESS.
struct Answer {
  nvmlReturn_t code;
  double value;
};

/// The type of a field's value differs between fields and between drivers.
Answer answer_of(const nvmlFieldValue_t& field) {
  if (field.nvmlReturn != NVML_SUCCESS) return {field.nvmlReturn, 0.0};
  switch (field.valueType) {
    case NVML_VALUE_TYPE_DOUBLE:
      return {NVML_SUCCESS, field.value.dVal};
    case NVML_VALUE_TYPE_UNSIGNED_INT:
      return {NVML_SUCCESS, static_cast<double>(field.value.uiVal)};
    case NVML_VALUE_TYPE_UNSIGNED_LONG:
      return {NVML_SUCCESS, static_cast<double>(field.value.ulVal)};
    case NVML_VALUE_TYPE_UNSIGNED_LONG_LONG:
      return {NVML_SUCCESS, static_cast<double>(field.value.ullVal)};
    case NVML_VALUE_TYPE_SIGNED_LONG_LONG:
      return {NVML_SUCCESS, static_cast<double>(field.value.sllVal)};
    case NVML_VALUE_TYPE_SIGNED_INT:
      return {NVML_SUCCESS, static_cast<double>(field.value.siVal)};
    case NVML_VALUE_TYPE_UNSIGNED_SHORT:
      return {NVML_SUCCESS, static_cast<double>(field.value.usVal)};
    default:
      return {NVML_ERROR_NOT_SUPPORTED, 0.0};
  }
}

nvmlFieldValue_t request_of(const Source& source) {
  nvmlFieldValue_t field{};
  field.fieldId = source.field;
  field.scopeId = source.scope;
  return field;
}

/// Opening is not repeated at the next deadline as reading is, so it waits out a passing failure.
template <typename Call>
nvmlReturn_t insist(Call call) {
  nvmlReturn_t code = call();
  for (int attempt = 1; attempt < open_attempts && code != NVML_SUCCESS; ++attempt) {
    if (failure_of(code) != NvmlFailure::passing) break;
    std::this_thread::sleep_for(open_pause);
    code = call();
  }
  return code;
}

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

/// The card of a UUID or PCI bus id. `id` of a MIG instance gives the card it is a part of.
nvmlDevice_t find_card(const NvmlLibrary& library, const std::string& id) {
  std::string wanted = id;
  // "MIG-GPU-<uuid>/<gi>/<ci>", the form before driver 470, carries the card's own UUID.
  if (starts_with(id, "MIG-GPU-")) wanted = id.substr(4, id.find('/') - 4);

  const bool by_uuid = starts_with(wanted, "GPU-") || starts_with(wanted, "MIG-");
  const auto look_up = by_uuid ? library.device_by_uuid : library.device_by_pci_bus_id;
  if (look_up == nullptr) library.raise(NVML_ERROR_FUNCTION_NOT_FOUND, "finding the device", id);

  nvmlDevice_t device = nullptr;
  nvmlReturn_t code = insist([&] { return look_up(wanted.c_str(), &device); });
  if (code == NVML_ERROR_NOT_FOUND || code == NVML_ERROR_INVALID_ARGUMENT) {
    throw NvmlError("No NVIDIA GPU here has the " + std::string(by_uuid ? "UUID " : "PCI bus id ") + id +
                    ". 'nvidia-smi -L' lists the UUIDs there are.");
  }
  if (code != NVML_SUCCESS) library.raise(code, "finding the device", id);
  if (!starts_with(wanted, "MIG-")) return device;

  if (library.device_of_mig == nullptr) {
    library.raise(NVML_ERROR_FUNCTION_NOT_FOUND, "finding the card of the MIG instance", id);
  }
  const nvmlDevice_t instance = device;
  code = insist([&] { return library.device_of_mig(instance, &device); });
  if (code != NVML_SUCCESS) library.raise(code, "finding the card of the MIG instance", id);
  return device;
}

}  // namespace

struct NvmlSensor::Impl {
  /// What fills one channel: an entry of `fields`, or a function of its own.
  struct Input {
    Source source;
    std::size_t field;  // index into `fields` where source.field is not 0
  };

  void open() {
    library = NvmlLibrary::open(library_path);
    card = find_card(*library, device);
  }

  /// Power or energy straight from its function.
  Answer call(Kind kind) const {
    if (kind == Kind::power) {
      if (library->power_usage == nullptr) return {NVML_ERROR_FUNCTION_NOT_FOUND, 0.0};
      unsigned int milliwatts = 0;
      const nvmlReturn_t code = library->power_usage(card, &milliwatts);
      return {code, static_cast<double>(milliwatts)};
    }
    if (library->total_energy == nullptr) return {NVML_ERROR_FUNCTION_NOT_FOUND, 0.0};
    unsigned long long millijoules = 0;
    const nvmlReturn_t code = library->total_energy(card, &millijoules);
    return {code, static_cast<double>(millijoules)};
  }

  /// Most power that the card keeps itself to, in W; NaN where the driver does not report it.
  double power_limit_w() const {
    unsigned int milliwatts = 0;
    const bool known = library->power_limit != nullptr &&
                       insist([&] { return library->power_limit(card, &milliwatts); }) == NVML_SUCCESS;
    return known ? milliwatts / 1000.0 : std::numeric_limits<double>::quiet_NaN();
  }

  Answer try_source(const Source& source, Kind kind) const {
    if (source.field == 0) return call(kind);
    if (library->field_values == nullptr) return {NVML_ERROR_FUNCTION_NOT_FOUND, 0.0};
    nvmlFieldValue_t field = request_of(source);
    const nvmlReturn_t code = library->field_values(card, 1, &field);
    return code == NVML_SUCCESS ? answer_of(field) : Answer{code, 0.0};
  }

  /// Adds a channel on the first of `sources` that answers. Old drivers say "unknown" or "invalid" for
  /// a field they do not know, so a failure that stays counts as "not offered" too.
  template <std::size_t count>
  bool offer(const Source (&sources)[count], Channel channel) {
    for (const Source& source : sources) {
      const nvmlReturn_t code = insist([&] { return try_source(source, channel.kind).code; });
      if (code == NVML_SUCCESS) {
        inputs.push_back({source, fields.size()});
        if (source.field != 0) fields.push_back(request_of(source));
        channels.push_back(std::move(channel));
        return true;
      }
      if (failure_of(code) == NvmlFailure::gone) {
        library->raise(code, std::string("reading ") + source.label, device);
      }
      tried += (tried.empty() ? "" : " | ") + library->message(code, source.label, "");
    }
    return false;
  }

  std::string name;
  std::string device;
  std::string library_path;
  std::shared_ptr<NvmlLibrary> library;
  nvmlDevice_t card = nullptr;
  std::vector<Channel> channels;
  std::vector<Input> inputs;             // one per channel
  std::vector<nvmlFieldValue_t> fields;  // the one call's request and answer
  std::string power_source;
  std::string tried;
  double counter_j = -std::numeric_limits<double>::infinity();  // as last read
};

NvmlSensor::NvmlSensor(std::string name, const std::string& device, const std::string& note,
                       const std::string& library_path)
    : impl_(std::make_unique<Impl>()) {
  Impl& impl = *impl_;
  impl.name = std::move(name);
  impl.device = device;
  impl.library_path = library_path;
  impl.open();

  Channel channel;
  channel.resolution = 0.001;  // NVML counts in mW and mJ
  channel.note = note;
  if (starts_with(device, "MIG-") && note.find(mig_note) == std::string::npos) {
    channel.note += (note.empty() ? "" : "; ") + std::string(mig_note);
  }

  channel.name = impl.name;
  channel.domain = "gpu";
  channel.power_limit_w = impl.power_limit_w();
  if (impl.offer(power_sources, channel)) impl.power_source = impl.inputs.back().source.label;

  channel.name = impl.name + "/energy";
  channel.kind = Kind::counter;
  impl.offer(energy_sources, channel);

  channel.name = impl.name + "/module";
  channel.kind = Kind::power;
  channel.domain = "module";
  channel.power_limit_w = std::numeric_limits<double>::quiet_NaN();  // the limit is the GPU's
  if (impl.offer(module_sources, channel)) {
    for (Channel& other : impl.channels) {
      if (other.domain == "gpu") other.contained_in = channel.name;
    }
  }

  if (impl.channels.empty()) {
    throw NvmlError(device + " offers neither power nor energy through NVML. Tried: " + impl.tried);
  }
}

NvmlSensor::~NvmlSensor() = default;

const std::string& NvmlSensor::name() const noexcept { return impl_->name; }
const std::vector<Channel>& NvmlSensor::channels() const noexcept { return impl_->channels; }
const std::string& NvmlSensor::power_source() const noexcept { return impl_->power_source; }

void NvmlSensor::read_alone(double* values) {
  Impl& impl = *impl_;
  if (!impl.library->of_this_process()) {
    try {
      impl.open();
    } catch (const NvmlError& error) {
      throw LostSensorError(error.what());
    }
  }

  nvmlReturn_t call_code = NVML_SUCCESS;
  if (!impl.fields.empty()) {
    for (auto& field : impl.fields) field.nvmlReturn = NVML_ERROR_NO_DATA;  // a driver may skip one
    call_code =
        impl.library->field_values(impl.card, static_cast<int>(impl.fields.size()), impl.fields.data());
  }

  bool any = false;
  std::size_t failed = 0;
  nvmlReturn_t failed_code = NVML_SUCCESS;
  for (std::size_t i = 0; i < impl.inputs.size(); ++i) {
    const Impl::Input& input = impl.inputs[i];
    const Kind kind = impl.channels[i].kind;
    const Answer answer = input.source.field == 0     ? impl.call(kind)
                          : call_code != NVML_SUCCESS ? Answer{call_code, 0.0}
                                                      : answer_of(impl.fields[input.field]);
    if (answer.code != NVML_SUCCESS) {
      const NvmlFailure failure = failure_of(answer.code);
      // What was there when the sensor was opened and is absent now (driver unloaded or replaced,
      // permission withdrawn) does not come back by itself either.
      if (failure == NvmlFailure::gone || failure == NvmlFailure::absent) {
        throw LostSensorError(
            impl.library->message(answer.code, std::string("reading ") + input.source.label, impl.device));
      }
      values[i] = std::numeric_limits<double>::quiet_NaN();
      failed = i;
      failed_code = answer.code;
      continue;
    }
    any = true;
    values[i] = answer.value / 1000.0;
    if (kind != Kind::counter) continue;
    if (values[i] < impl.counter_j) {
      throw LostSensorError("The energy counter of " + impl.device + " went back from " +
                            std::to_string(impl.counter_j) + " J to " + std::to_string(values[i]) +
                            " J: the driver was reloaded, and the energy in between is unknown. Open the "
                            "sensor again.");
    }
    impl.counter_j = values[i];
  }
  if (!any) {
    throw PassingSensorError(impl.library->message(
        failed_code, std::string("reading ") + impl.inputs[failed].source.label, impl.device));
  }
}

}  // namespace pywatt
