! Points in the unit square that fall into the circle's quarter, blocks of them in parallel. Each block has a generator
! of its own: xorshift64 (G. Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8(14), 2003; 13, 7, 17).
function inside(seeds, blocks, points, threads) bind(c, name='inside') result(hits)
  use, intrinsic :: iso_c_binding, only: c_int, c_int64_t, c_double
  implicit none
  integer(c_int64_t), value :: blocks, points
  integer(c_int64_t), intent(in) :: seeds(blocks)
  integer(c_int), value :: threads
  integer(c_int64_t) :: hits, block, i, state
  real(c_double), parameter :: unit = 2.0_c_double**(-53)
  real(c_double) :: x, y
  hits = 0
  !$omp parallel do schedule(static) num_threads(threads) private(i, state, x, y) reduction(+:hits)
  do block = 1, blocks
    state = seeds(block)
    do i = 1, points
      state = ieor(state, shiftl(state, 13))
      state = ieor(state, shiftr(state, 7))
      state = ieor(state, shiftl(state, 17))
      x = real(shiftr(state, 11), c_double) * unit
      state = ieor(state, shiftl(state, 13))
      state = ieor(state, shiftr(state, 7))
      state = ieor(state, shiftl(state, 17))
      y = real(shiftr(state, 11), c_double) * unit
      if (x * x + y * y < 1.0_c_double) hits = hits + 1
    end do
  end do
  !$omp end parallel do
end function inside
