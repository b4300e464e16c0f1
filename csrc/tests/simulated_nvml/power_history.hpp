#pragma once

#include <vector>

namespace simulated {

/// True power over all time, constant by steps. Energies come from prefix sums, so a look-up costs
/// two binary searches however long the history is.
class PowerHistory {
 public:
  /// `power_w` at all times.
  explicit PowerHistory(double power_w) { play(0.0, {1.0}, {power_w}, false); }

  /// From `start_s` on: power_w[i] for duration_s[i], over and over, or once and then the last power
  /// for good. Forgets what began at `start_s` or later.
  /// REQUIRES: as many durations as powers, at least one; durations > 0.
  void play(double start_s, const std::vector<double>& duration_s, const std::vector<double>& power_w,
            bool repeat);

  double power_w(double time_s) const;
  double energy_j(double start_s, double end_s) const;

 private:
  struct Step {
    double start_s;   // after the start of its piece
    double energy_j;  // of the piece up to start_s
    double power_w;
  };
  struct Piece {
    double start_s;
    double energy_before_j;  // of all pieces before this one
    double duration_s;       // of one repeat; 0: not repeated
    double cycle_energy_j;   // of one repeat
    std::vector<Step> steps;

    const Step& step_at(double offset_s) const;
    double cycles_before(double offset_s) const;
    double power_w(double offset_s) const;
    double energy_j(double offset_s) const;
  };
  const Piece& piece_at(double time_s) const;

  std::vector<Piece> pieces_;  // by start_s; the first one also holds backwards
};

}  // namespace simulated
