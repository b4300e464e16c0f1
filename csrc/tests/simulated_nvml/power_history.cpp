#include "power_history.hpp"

#include <algorithm>
#include <cmath>

namespace simulated {

void PowerHistory::play(double start_s, const std::vector<double>& duration_s,
                        const std::vector<double>& power_w, bool repeat) {
  Piece piece{start_s, 0.0, 0.0, 0.0, {}};
  double offset_s = 0.0, energy_j = 0.0;
  for (std::size_t i = 0; i < power_w.size(); ++i) {
    piece.steps.push_back({offset_s, energy_j, power_w[i]});
    offset_s += duration_s[i];
    energy_j += duration_s[i] * power_w[i];
  }
  if (repeat) {
    piece.duration_s = offset_s;
    piece.cycle_energy_j = energy_j;
  }
  // The first piece stays: it says what was before everything else.
  while (pieces_.size() > 1 && pieces_.back().start_s >= start_s) pieces_.pop_back();
  if (!pieces_.empty()) {
    const Piece& last = pieces_.back();
    piece.energy_before_j = last.energy_before_j + last.energy_j(start_s - last.start_s);
  }
  pieces_.push_back(std::move(piece));
}

double PowerHistory::power_w(double time_s) const {
  const Piece& piece = piece_at(time_s);
  return piece.power_w(time_s - piece.start_s);
}

double PowerHistory::energy_j(double start_s, double end_s) const {
  const Piece& first = piece_at(start_s);
  const Piece& last = piece_at(end_s);
  const double first_j = first.energy_j(start_s - first.start_s);
  const double last_j = last.energy_j(end_s - last.start_s);
  return (last.energy_before_j - first.energy_before_j) + (last_j - first_j);
}

const PowerHistory::Piece& PowerHistory::piece_at(double time_s) const {
  const auto after = std::upper_bound(pieces_.begin() + 1, pieces_.end(), time_s,
                                      [](double time, const Piece& piece) { return time < piece.start_s; });
  return *(after - 1);
}

const PowerHistory::Step& PowerHistory::Piece::step_at(double offset_s) const {
  const auto after = std::upper_bound(steps.begin() + 1, steps.end(), offset_s,
                                      [](double offset, const Step& step) { return offset < step.start_s; });
  return *(after - 1);
}

double PowerHistory::Piece::cycles_before(double offset_s) const {
  return duration_s > 0.0 ? std::floor(offset_s / duration_s) : 0.0;
}

double PowerHistory::Piece::power_w(double offset_s) const {
  return step_at(offset_s - cycles_before(offset_s) * duration_s).power_w;
}

double PowerHistory::Piece::energy_j(double offset_s) const {
  const double cycles = cycles_before(offset_s);
  const double in_cycle_s = offset_s - cycles * duration_s;
  const Step& step = step_at(in_cycle_s);
  return cycles * cycle_energy_j + step.energy_j + step.power_w * (in_cycle_s - step.start_s);
}

}  // namespace simulated
